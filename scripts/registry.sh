#!/usr/bin/env bash
# A registry of images at 127.0.0.1:5000, or the port given, in memory, until Ctrl-C: to try what pulls and pushes. Engines talk to it
# without TLS. It listens where the engine that DOCKER_HOST names looks for it: that of scripts/engine.sh has a network of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${1:-5000}
(cd services/ant && go build -o ../../bin/registry github.com/google/go-containerregistry/cmd/registry) # the one of the tests
run=(bin/registry -port "$port")
engine=$(pgrep -f "^dockerd --host ${DOCKER_HOST:-none} " | tail -n 1) || true
[ -z "$engine" ] || run=(nsenter --target "$engine" --net "${run[@]}")
echo "push and pull 127.0.0.1:$port/NAME:TAG" >&2
exec "${run[@]}"
