package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/formicary/formicary/libs/errs"
)

// quotas are the rates of organisations that have one of their own.
type quotas struct {
	mu   sync.Mutex
	held map[string]*rate.Limiter
}

// Bound gives organisations rates of their own, in calls per second and twice as many at once, beside that of all; those that
// are not named have none any more.
func (l *Limits) Bound(perSecond map[string]int64) {
	l.own.mu.Lock()
	defer l.own.mu.Unlock()
	held := make(map[string]*rate.Limiter, len(perSecond))
	for org, n := range perSecond {
		b, ok := l.own.held[org]
		switch {
		case !ok:
			b = rate.NewLimiter(rate.Limit(n), int(2*n))
		case b.Limit() != rate.Limit(n):
			b.SetLimit(rate.Limit(n))
			b.SetBurst(int(2 * n))
		}
		held[org] = b
	}
	l.own.held = held
}

func (q *quotas) take(org string) error {
	q.mu.Lock()
	b := q.held[org]
	q.mu.Unlock()
	if b == nil {
		return nil
	}
	wait := b.Reserve()
	d := wait.Delay()
	if d == 0 {
		return nil
	}
	wait.Cancel()
	return errs.Exhausted("QUOTA_EXCEEDED", "organisation %s calls more often than its quota allows: %g a second (calls_per_second); call less often, or ask a platform-admin to raise it", org, float64(b.Limit())).
		After(max(d, time.Millisecond))
}
