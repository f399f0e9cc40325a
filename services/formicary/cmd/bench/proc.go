package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const clockTick = 10 * time.Millisecond // USER_HZ is 100 on Linux

// tree returns the process and all that descend from it.
func tree(root int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if f := stat(pid); len(f) > 1 {
			ppid, _ := strconv.Atoi(f[1])
			children[ppid] = append(children[ppid], pid)
		}
	}
	pids := []int{root}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}

// stat returns the fields of /proc/PID/stat after the command name: state, ppid, …
func stat(pid int) []string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(raw), ") ")
	if !ok {
		return nil
	}
	return strings.Fields(rest)
}

// cpu is the processor time of the colony: services, PostgreSQL, tasks that have ended and were waited for.
func (c *colony) cpu() time.Duration {
	var ticks int64
	for _, pid := range tree(c.cmd.Process.Pid) {
		f := stat(pid)
		if len(f) < 15 {
			continue
		}
		for _, s := range f[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(s, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick
}

// rss is the resident memory of the services' process in MiB, PostgreSQL aside.
func (c *colony) rss() float64 {
	return field(filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), "status"), "VmRSS:") / 1024
}

// footprint is the memory of all processes in MiB, shared pages counted once.
func (c *colony) footprint() float64 {
	var kib float64
	for _, pid := range tree(c.cmd.Process.Pid) {
		kib += field(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"), "Pss:")
	}
	return kib / 1024
}

func field(path, name string) float64 {
	raw, _ := os.ReadFile(path) // #nosec G304 -- below /proc
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			v, _ := strconv.ParseFloat(f[1], 64)
			return v
		}
	}
	return 0
}

// sampleEvery is seldom enough that reading the memory of all processes does not disturb what is measured.
const sampleEvery = time.Second

// peak samples a figure until stop is called and returns the largest.
func peak(sample func() float64) (stop func() float64) {
	var most atomic.Uint64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			if v := uint64(sample() * 1024); v > most.Load() {
				most.Store(v)
			}
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() float64 {
		close(end)
		<-ended
		return max(float64(most.Load())/1024, sample())
	}
}
