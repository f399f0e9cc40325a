#!/bin/sh
# engine.sh DIR [SECONDS]: a private Docker engine that answers at DIR/docker.sock. It ends, and leaves nothing, when the last
# process that held a shared lock (flock) on DIR/users has been gone for SECONDS (10), however that one went. It has its own
# network, mounts and process numbers: engines beside it, their bridges and firewall rules are not touched, and whatever it
# runs dies with it. Its containers reach each other and nothing outside. Whoever ends dockerd itself finds it started again.
set -eu
dir=$1 linger=${2:-10}
clean() { rm -rf "$dir/data" "$dir/exec" "$dir/docker.sock" "$dir/pid"; }
clean
exec 9<>"$dir/users"

# The shell is the first process of its namespace, because dockerd does not reap the orphans that it would get there.
# shellcheck disable=SC2016
setpriv --pdeathsig KILL unshare --net --mount --pid --fork --mount-proc --kill-child=KILL sh -c '
  trap "ending=1; kill -TERM \$engine" TERM
  busybox ip link set lo up || ip link set lo up
  ending=
  while [ -z "$ending" ]; do
    dockerd --host "unix://$1/docker.sock" --group "$(stat -c %g "$1")" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" &
    engine=$!
    wait $engine || wait $engine || break
  done' engine "$dir" 9>&- >"$dir/log" 2>&1 &
outer=$!

# shellcheck disable=SC2046
( while flock 9 && flock -u 9; do
    sleep "$linger" # the next test package is often about to begin
    flock -n 9 || continue
    kill -TERM $(cat "/proc/$outer/task/$outer/children")
    for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 "$outer" || break; done
    kill -KILL "$outer"
    break
  done ) 2>/dev/null &
watcher=$!
wait $outer || true
kill $watcher 2>/dev/null || true
clean
