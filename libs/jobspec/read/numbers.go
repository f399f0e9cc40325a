package read

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of what can be asked for: files may be kept longer than anything runs or waits.
const (
	maxDuration = 365 * 24 * time.Hour
	MaxExpiry   = MaxRetention * 24 * time.Hour

	// MaxRetention bounds the days that something is kept.
	MaxRetention = 36_500
)

// Duration reads a duration such as 90s, 10m or 1h30m; 0 needs no unit.
func (r *Reader) Duration(n *source.Node) time.Duration { return r.DurationUpTo(n, maxDuration) }

// DurationUpTo is Duration with another bound.
func (r *Reader) DurationUpTo(n *source.Node, most time.Duration) time.Duration {
	text, ok := r.Planned(n)
	if !ok {
		return 0
	}
	d, err := parseDurationUpTo(text, most)
	if err != nil && !r.Nothing(n, text) {
		days := value.Text(int64(most / (24 * time.Hour)))
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no duration", "a number with a unit up to "+days+" days, such as 90s, 10m or 1h30m")
		return 0
	}
	return d
}

// ParseDuration parses what Duration reads.
func ParseDuration(text string) (time.Duration, error) { return parseDurationUpTo(text, maxDuration) }

// parseDurationUpTo knows days in addition to Go's units.
func parseDurationUpTo(text string, most time.Duration) (time.Duration, error) {
	var days time.Duration
	if head, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, errors.New("not a duration")
		}
		days, text = time.Duration(n)*24*time.Hour, tail
		if text == "" {
			text = "0"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || days > most || d > most-days {
		return 0, errors.New("not a duration")
	}
	return d + days, nil
}

// Number reads a number that may have a fraction.
func (r *Reader) Number(n *source.Node, low, high float64) float64 {
	text, ok := r.Planned(n)
	if !ok {
		return 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if r.Nothing(n, text) {
		return 0
	}
	if err != nil || math.IsNaN(f) || f < low || f > high {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is out of bounds or no number", fmt.Sprintf("%g to %g", low, high))
		return 0
	}
	return f
}
