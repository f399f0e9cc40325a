#!/usr/bin/env bash
# Runs every module's tests with the race detector, the end-to-end tests among them.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=1 # the race detector needs it
go vet work
go test -race -timeout 20m "$@" work
