#!/usr/bin/env bash
# Runs a command with a Docker engine: scripts/engine.sh make bench. One that answers is used and left alone, else a private
# one is started, in DOCKER_HOST of the command, and ended after it. Needs root for that, and what make setup-test installs.
set -euo pipefail
engine=$(cd "$(dirname "$0")/.." && pwd)/libs/testkit/enginetest/engine.sh
if [ -n "${DOCKER_HOST:-}" ] || curl -fs --unix-socket /var/run/docker.sock http://engine/_ping >/dev/null 2>&1; then exec "$@"; fi
for needed in dockerd curl flock; do
  command -v "$needed" >/dev/null || { echo "engine.sh: no Docker engine answers, and there is no $needed to start one with: make setup-test installs it" >&2; exit 1; }
done
dir=$(mktemp -d /tmp/fengine-XXXXXX)
trap 'rm -rf "$dir"' EXIT
exec 8<>"$dir/users"
flock -s 8
setsid sh "$engine" "$dir" 0 8>&- &
for _ in $(seq 300); do
  curl -fs --unix-socket "$dir/docker.sock" http://engine/_ping >/dev/null && break
  kill -0 $! 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
  sleep 0.1
done
status=0
DOCKER_HOST=unix://$dir/docker.sock "$@" || status=$?
exec 8>&-
wait $!
exit "$status"
