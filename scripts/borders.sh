#!/usr/bin/env bash
# A service knows another one only through proto/gen: no service module may require another service,
# except services/formicary, which composes them. Every module must build alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
for mod in services/*/go.mod; do
  dir=$(dirname "$mod")
  [ "$dir" = services/formicary ] && continue
  if grep -nE 'formicary/formicary/services/' "$mod" | grep -vE '^1:module' ; then
    echo "$mod requires another service" >&2
    bad=1
  fi
  (cd "$dir" && GOWORK=off go build ./...) || { echo "$dir does not build alone" >&2; bad=1; }
done
exit "$bad"
