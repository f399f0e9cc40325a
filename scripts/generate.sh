#!/usr/bin/env bash
# Generates proto/gen from proto/ and the SQL access code of every service from its queries.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off
find proto/gen/formicary -name '*.go' -delete # the embedding in proto/gen/openapi is written by hand
bin/tools/buf generate --path proto/formicary
for conf in services/*/sqlc.yaml; do
  [ -e "$conf" ] || continue
  (cd "$(dirname "$conf")" && ../../bin/tools/sqlc generate)
done
