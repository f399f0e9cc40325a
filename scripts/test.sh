#!/usr/bin/env bash
# Runs every module's tests with the race detector, then the end-to-end tests, and prints one closing line.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=1 # the race detector needs it
go vet work
go test -race -timeout 15m "$@" work
