package session

import (
	"context"
	"fmt"
	"time"
)

// The fence is what keeps two ants from running the same task: without a good Sync for FenceAfter the ant ends its tasks.
// The time counts from the moment at which the last good Sync was sent, because supervisor's lease began later, and by
// the clock that shows more of it: the monotonic one stands still while a host is suspended, the wall clock may be set.
//
// When the time is over because the ant did not run (a suspended host, a stopped process) or because a clock was set,
// nobody has refused an answer yet. Then the ant asks first, and ends its tasks if it is not answered within one call:
// supervisor gives a lease its time again after a pause that it has noticed, too. It asks so once: pauses that follow each
// other without an answer between them are silence.

const (
	// lookEvery is how often the fence looks at the clocks.
	lookEvery = time.Second
	// slack is how much later a look may be before the ant is taken to have been asleep.
	slack = 2 * time.Second
)

// fence kills what runs when no Sync was good for too long.
func (s *Session) fence(ctx context.Context) error {
	var patience time.Time // after a sleep: the ant has been asked about nothing before
	var spent time.Time    // the good Sync after which there was one already
	for looked := s.clock(); ; {
		now := s.clock()
		if elapsed(looked, now) > lookEvery+slack {
			if good := s.lastSync(); !good.Equal(spent) {
				patience, spent = now.Add(callTime), good
			}
			s.syncNow.Set()
		}
		looked = now
		left := max(s.closeFence(now, patience), patience.Sub(now))
		if left <= 0 {
			left = s.opts.FenceAfter
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.good.C():
		case <-time.After(min(left, lookEvery)):
		}
	}
}

// lastSync is when the last good Sync was sent.
func (s *Session) lastSync() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastGood
}

// elapsed is the time between two moments by the clock that shows more of it.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0))) // Round takes the monotonic clock away
}

// closeFence kills what runs when it is time to, and returns how long that is away. Before patience is over it is not.
func (s *Session) closeFence(now, patience time.Time) (left time.Duration) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	left = s.opts.FenceAfter - elapsed(s.lastGood, now)
	due := left <= 0 && !now.Before(patience) && !s.fenced
	s.fenced = s.fenced || due
	s.mu.Unlock()
	if due {
		s.log.Error("no answer from supervisor: the tasks of this ant are ended", "for", s.opts.FenceAfter)
		s.attempts.Kill(fmt.Sprintf("the ant had no answer from supervisor for %s", s.opts.FenceAfter))
	}
	return left
}
