#!/usr/bin/env bash
# Builds the committed state twice, in two directories and with two empty build caches, and compares the programs.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
for dir in first "second-of-another-length"; do
  mkdir -p "$work/$dir/src"
  git archive HEAD | tar -x -C "$work/$dir/src"
  echo "build in $dir"
  (cd "$work/$dir/src" && GOCACHE="$work/cache" make --no-print-directory build VERSION=reproducible >/dev/null)
  rm -rf "$work/cache"
  (cd "$work/$dir/src/bin" && find . -maxdepth 1 -type f -exec sha256sum {} + | sort -k2) >"$work/$dir.sum"
done
if ! diff "$work/first.sum" "$work/second-of-another-length.sum"; then
  echo "reproducible: two builds of the same state differ" >&2
  exit 1
fi
cat "$work/first.sum"
