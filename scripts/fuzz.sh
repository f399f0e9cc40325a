#!/usr/bin/env bash
# Runs every fuzz target, one after the other. FUZZTIME is the time of each; TARGETS, a regular expression, chooses.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-5m}
grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z]+' libs services | grep -E "${TARGETS:-.}" | while IFS=: read -r file _ name; do
  target=${name#func }
  echo "$target in $(dirname "$file") for $time"
  (cd "$(dirname "$file")" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" .)
done
