#!/usr/bin/env bash
# Runs every module's tests with the race detector, the end-to-end tests among them.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=1 # the race detector needs it
CGO_ENABLED=0 go vet work # as the programs of the end-to-end tests are compiled: one compilation serves both
# The longest tests begin early, and the other packages run beside them.
go test -race -timeout 30m "$@" ./libs/... ./services/formicary/e2e ./services/supervisor work
