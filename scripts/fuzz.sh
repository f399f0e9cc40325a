#!/usr/bin/env bash
# Runs every fuzz target, one after the other, and tells at the end which failed. FUZZTIME is the time of each; TARGETS,
# a regular expression, chooses; FUZZFLAGS are more flags of go test.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-5m}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=()
while IFS=: read -r file _ name; do
  target=${name#func } dir=$(dirname "$file")
  echo "$target in $dir for $time"
  # shellcheck disable=SC2086 # several flags
  (cd "$dir" && go test ${FUZZFLAGS:-} -run '^$' -fuzz "^$target\$" -fuzztime "$time" .) 2>&1 | tee "$out" && continue
  # go's fuzzer may report its own time limit as a failure (golang.org/issue/51484); it has found nothing then.
  if grep -qx '    context deadline exceeded' "$out" && ! grep -q 'Failing input written' "$out"; then
    echo "$target: the fuzzer ended late and found nothing"
  else
    failed+=("$target")
  fi
done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z]+' libs services | grep -E "${TARGETS:-.}")
if ((${#failed[@]})); then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
