#!/usr/bin/env bash
# Prints sizes: a mirror, not a gate.
set -euo pipefail
cd "$(dirname "$0")/.."
hand() { git ls-files '*.go' | grep -vE '(^|/)(gen|db)/'; }
count() { xargs -r cat | wc -l; }
quantiles() { sort -n | awk '{a[NR]=$1} END {if (NR) printf "median %d, 90th percentile %d, largest %d (of %d)\n", a[int((NR+1)/2)], a[int(NR*0.9)], a[NR], NR}'; }
printf 'code lines  %s\n' "$(hand | grep -v _test.go | count)"
printf 'test lines  %s\n' "$(hand | grep _test.go | count)"
printf 'files       '; hand | grep -v _test.go | while read -r f; do wc -l <"$f"; done | quantiles
printf 'functions   '; hand | grep -v _test.go | xargs -r awk '/^func /{start=FNR} /^}/{if (start) {print FNR-start; start=0}}' | quantiles
printf 'packages over 1500 lines:\n'
hand | grep -v _test.go | xargs -r -n1 dirname | sort -u | while read -r d; do
  n=$(git ls-files "$d/*.go" | grep -E "^$d/[^/]+$" | grep -v _test.go | xargs -r cat | wc -l)
  [ "$n" -gt 1500 ] && printf '  %s %s\n' "$n" "$d"
done || true
