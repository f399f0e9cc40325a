#!/usr/bin/env bash
# Starts the embedded colony on a fresh directory, runs the pipeline that builds this repository, shows the result and
# stops the colony. A second start with the same directory still knows the run.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$(pwd)
say() { printf '\n== %s\n' "$*" >&2; }

data=${FORMICARY_DEMO_DATA:-$(mktemp -d -t formicary-demo-XXXXXX)}
mkdir -p "$data"
chmod 755 "$data" # PostgreSQL runs as another user below it when we are root
file=$data/colony/colony.json

say "starting the colony: PostgreSQL, NATS, etcd, S3, six services and an ant"
bin/formicary up --data "$data/colony" --listen 127.0.0.1:0 >"$data/up.log" 2>&1 &
colony=$!
trap 'kill -TERM $colony 2>/dev/null || true; wait $colony 2>/dev/null || true' EXIT

for try in $(seq 600); do
  bin/formicary doctor --colony "$file" --quiet 2>/dev/null && break
  kill -0 $colony 2>/dev/null || { echo "the colony did not start:"; cat "$data/up.log"; exit 1; }
  [ "$try" -lt 600 ] || { echo "the colony is not ready after a minute:"; cat "$data/up.log"; exit 1; }
  sleep 0.1
done
cat "$data/up.log" >&2

say "running a pipeline that builds this repository: clone, vet and tests side by side, build, report"
code=0
bin/formicary run --colony "$file" services/formicary/examples/build-formicary.yaml \
  -p "repo=$repo" -p "go=$(dirname "$(command -v go)")" -p "home=$HOME" || code=$?

cat <<TXT

The colony kept the run in $data/colony. Try next:
  bin/formicary up --data $data/colony        start it again; it still knows the run
  bin/formicary request list                  what ran (while it is up)
  bin/formicary run FILE                      run a job of your own, no server needed
TXT
exit $code
