# The guard of an ant's tasks: see guard.go. Its input ends when the ant does; file 3 holds the tasks' pipes.
life=$1 dir=$2 base=$3 lease=$4 after=$5
trap '' HUP INT TERM
while read -r _; do :; done

# Until there is another life, or the last good Sync is too old. The turns are counted for a clock that stands still.
turn=0
while [ "$turn" -le "$after" ]; do
	read -r now <"$dir/guard" || exit 0
	[ "$now" = "$life" ] || exit 0
	synced=0
	read -r synced _ <"$lease"
	read -r up _ </proc/uptime
	[ "${up%.*}" -lt $((${synced%.*} + after)) ] || break
	turn=$((turn + 1))
	sleep 1
done

# Groups first: nobody leaves those. Then whoever carries the mark of the directory, with its process group.
round=0 alive=1
while [ -n "$alive" ] && [ "$round" -lt 200 ]; do
	alive=
	for group in ${base:+"$base"/*/}; do
		if grep -qs 'populated 1' "$group/cgroup.events"; then
			alive=1
			echo 1 >"$group/cgroup.kill" || while read -r pid; do kill -9 "$pid"; done <"$group/cgroup.procs"
		fi
	done
	for file in $(grep -lsF "FORMICARY_WORKDIR=$dir/" /proc/[0-9]*/environ); do
		alive=1 pid=${file#/proc/} pid=${pid%/environ}
		kill -9 -- "-$pid"
		kill -9 "$pid"
	done
	round=$((round + 1))
	[ -z "$alive" ] || sleep 0.05 || sleep 1
done
