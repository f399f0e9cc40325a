package jobspec_test

import (
	"syscall"
	"time"
)

// cost is the processor time that f takes. Time on the wall would tell how busy the machine is.
func cost(f func()) time.Duration {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	f()
	return used() - before
}
