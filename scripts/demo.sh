#!/usr/bin/env bash
# Starts the embedded colony on a fresh directory, runs the pipeline that builds this repository and, where a Docker engine
# answers, one whose task runs in a container; shows the results and stops the colony. A second start with the same
# directory still knows the runs.
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
[ $code != 0 ] || {
  say "the program that it built is an artifact"
  bin/formicary artifact list --colony "$file" --job-type build-formicary
}

# An image that the engine has, else one that it can get.
image_of_engine() {
  local image
  for image in alpine:3.20 busybox:1; do
    docker image inspect "$image" >/dev/null 2>&1 && { echo "$image"; return; }
  done
  timeout 60 docker pull --quiet alpine:3.20 >/dev/null 2>&1 && echo alpine:3.20
}
left_out=
if ! command -v docker >/dev/null || ! timeout 10 docker version >/dev/null 2>&1; then
  left_out="no Docker engine answers here (\`bin/formicary doctor\` says more)"
elif ! image=$(image_of_engine); then
  left_out="the Docker engine has no image alpine:3.20 and cannot pull it"
elif [ $code = 0 ]; then
  say "running a task in a container of $image; what it makes is an artifact that the next task reads"
  bin/formicary run --colony "$file" services/formicary/examples/ci-docker.yaml -p "image=$image" || code=$?
fi
[ -z "$left_out" ] || say "left out: tasks in containers, since $left_out"

cat <<TXT

The colony kept the run in $data/colony. Try next:
  bin/formicary up --data $data/colony        start it again; it still knows the run
  bin/formicary request list                  what ran (while it is up)
  bin/formicary run FILE                      run a job of your own, no server needed
TXT
exit $code
