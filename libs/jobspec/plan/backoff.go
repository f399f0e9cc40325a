package plan

import (
	"math"
	"time"
)

// maxBackoff bounds every delay, so that no factor overflows.
const maxBackoff = 30 * 24 * time.Hour

// Backoff says how long to wait between attempts.
type Backoff struct {
	// Delay is the constant delay; used when Factor is 0.
	Delay time.Duration `json:"delay,omitempty"`
	// Min is the first delay and Max the largest one (0: no bound); used when Factor is above 0.
	Min time.Duration `json:"min,omitempty"`
	Max time.Duration `json:"max,omitempty"`
	// Factor multiplies the delay after each attempt.
	Factor float64 `json:"factor,omitempty"`
	// Jitter spreads the delays: a constant one over [Delay, 2 Delay), a growing one over [Min, delay).
	Jitter bool `json:"jitter,omitempty"`
}

// For returns the delay after the given attempt (from 1) has ended. random is in [0, 1) and used with Jitter only.
func (b Backoff) For(attempt int, random float64) time.Duration {
	if b.Factor <= 0 {
		if b.Jitter {
			return clampDelay(float64(b.Delay) * (1 + random))
		}
		return clampDelay(float64(b.Delay))
	}
	d := float64(b.Min) * math.Pow(b.Factor, float64(max(attempt, 1)-1))
	if b.Max > 0 {
		d = math.Min(d, float64(b.Max))
	}
	if b.Jitter && d > float64(b.Min) {
		d = float64(b.Min) + random*(d-float64(b.Min))
	}
	return clampDelay(d)
}

func clampDelay(d float64) time.Duration {
	if !(d > 0) {
		return 0
	}
	return time.Duration(math.Min(d, float64(maxBackoff)))
}
