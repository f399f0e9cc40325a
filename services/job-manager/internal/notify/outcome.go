package notify

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Outcome is how an attempt ended.
type Outcome struct {
	ID uuid.UUID
	// Attempt that it is of: a later one has the say.
	Attempt int
	State   State
	Error   string
	// Pause before the next attempt.
	Pause time.Duration
}

// refusal is an error that trying again does not cure.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// Refuse returns an error after which a delivery is given up.
func Refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// Refused says that err ends a delivery.
func Refused(err error) bool {
	_, ok := errors.AsType[*refusal](err)
	return ok
}

// later is an error of a receiver that says when to try again.
type later struct {
	err   error
	after time.Duration
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }

// Later returns err with the least time before the next attempt.
func Later(err error, after time.Duration) error { return &later{err, after} }

// Pace says when a delivery is tried again.
type Pace struct {
	// First is the pause after the first attempt; it doubles up to Longest.
	First, Longest time.Duration
	// GiveUp is the age from which no further attempt is begun.
	GiveUp time.Duration
}

// outcome decides what follows an attempt. spread, 0 to 1, keeps many that failed together from coming back together.
func (p Pace) outcome(d *Delivery, err error, age time.Duration, spread float64) Outcome {
	o := Outcome{ID: d.ID, Attempt: d.Attempts, State: Sent}
	if err == nil {
		return o
	}
	o.State, o.Error = Failed, clean(err.Error(), maxText)
	if Refused(err) {
		return o
	}
	pause := p.pause(d.Attempts, spread)
	if l, ok := errors.AsType[*later](err); ok {
		pause = max(pause, l.after)
	}
	if age+pause > p.GiveUp {
		o.Error = clean("given up: "+err.Error(), maxText)
		return o
	}
	o.State, o.Pause = Pending, pause
	return o
}

const (
	least  = 0.8 // of a pause, with spread 0
	spread = 0.4 // what spread adds to it
)

func (p Pace) pause(attempts int, spreadBy float64) time.Duration {
	pause := p.First
	for i := 1; i < attempts && pause < p.Longest; i++ {
		pause *= 2
	}
	return time.Duration(float64(min(pause, p.Longest)) * (least + spread*spreadBy))
}
