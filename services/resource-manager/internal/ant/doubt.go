package ant

import "time"

// Doubt is what speaks against an ant that beats in health: attempts that were placed on it and that it did not claim.
// Doorbells may not reach it, and it need not know.
//
// One that left any unclaimed is placed on after all others. From AvoidFrom in a row on it is avoided for a while that
// doubles with each further round, then gets one attempt at a time. Any claim that is answered ends the doubt, so an
// ant that hears again is back with its next beat, and the only ant of a kind is never given up.
type Doubt struct {
	Unclaimed   int // in a row
	UnclaimedAt *time.Time
	Avoid       time.Duration // how long it was avoided last
	Until       *time.Time    // it is avoided until then
}

// AvoidFrom is how many unclaimed attempts in a row make an ant avoided.
const AvoidFrom = 3

// Trial is how long an avoided ant that was given one attempt gets no other: longer than an attempt may wait for its
// claim.
const Trial = 45 * time.Second

const (
	avoidFirst  = 30 * time.Second
	avoidMost   = 5 * time.Minute
	oneRound    = 20 * time.Second // what comes within was placed together
	forgetAfter = 10 * time.Minute // twice what lies between two trials at most
)

// Missed notes attempts that the ant did not claim in time.
func (d *Doubt) Missed(n int, now time.Time) {
	if d.UnclaimedAt != nil && now.Sub(*d.UnclaimedAt) > forgetAfter {
		*d = Doubt{}
	}
	first := d.UnclaimedAt == nil || now.Sub(*d.UnclaimedAt) >= oneRound
	d.Unclaimed += n
	d.UnclaimedAt = &now
	if d.Unclaimed < AvoidFrom {
		return
	}
	if first || d.Avoid == 0 {
		d.Avoid = min(max(2*d.Avoid, avoidFirst), avoidMost)
	}
	until := now.Add(d.Avoid)
	d.Until = &until
}
