// Package place decides which ant runs which attempt. It is pure: ants and asks in, placements out.
//
// An ant fits when it takes work, offers the method in health, owns all tags and has the slots free. Of those that fit
// the one with the most free slots is taken, then the least loaded, then the first by id; those that are doubted come
// after all others. So work spreads over equal ants and the same question has the same answer.
//
// Who asks shows the board only ants that may win. Why an ask was refused is told by the fleet: all ants, counted by kind.
package place

import (
	"container/heap"
	"slices"

	"github.com/formicary/formicary/libs/placement"
)

// Kind is what ants that cannot be told apart offer.
type Kind struct {
	Org         string // that it is offered to; empty for all
	Draining    bool
	Unreachable bool // it does not hear of work
	Avoided     bool // it left too many attempts unclaimed, and is not tried now
	Methods     []string
	Unhealthy   []string // methods
	Tags        []string
	Slots       int
}

// Takes says whether ants of the kind take work like the ask, be it that they have slots free or not.
func (a *Kind) Takes(k placement.Need) bool { return misfit(a, k) == placement.Fits }

// Ant has slots, and some of them left.
type Ant struct {
	ID      string
	Slots   int
	Used    int  // may be more than Slots after the ant shrank
	Doubted bool // it left attempts unclaimed
	Trial   bool // it left so many that it gets one attempt at a time
}

func (a *Ant) free() int { return a.Slots - a.Used }

// Gate says why nothing fits.
type Gate string

// The gates.
const (
	Open     Gate = ""
	Capacity Gate = "capacity" // the slots are taken
	NoAnt    Gate = "no_ant"   // no ant will take it, however long it waits
)

// Answer to an ask.
type Answer struct {
	Ant    string // empty when nothing fits
	Gate   Gate
	Reason string // for a person
}

// Board places asks one after the other and keeps count.
type Board struct {
	ants    map[string]*Ant
	classes map[string]*class
}

// class are the asks of one kind: they fit the same ants.
type class struct{ trusted, doubted ranking }

// NewBoard returns an empty board.
func NewBoard() *Board { return &Board{ants: map[string]*Ant{}, classes: map[string]*class{}} }

// Show names the ants that take asks like k. An ant that was shown before stays as it was.
func (b *Board) Show(k placement.Need, ants []Ant) {
	c := &class{}
	for _, a := range ants {
		if b.ants[a.ID] == nil {
			b.ants[a.ID] = &a
		}
		known := b.ants[a.ID]
		list := &c.trusted
		if a.Doubted {
			list = &c.doubted
		}
		*list = append(*list, rank{known, known.free()})
	}
	heap.Init(&c.trusted)
	heap.Init(&c.doubted)
	b.classes[k.String()] = c
}

// Place takes the slots for one ask and returns the ant; empty when none that was shown has them.
func (b *Board) Place(k placement.Need) string {
	c := b.classes[k.String()]
	if c == nil {
		return ""
	}
	best := c.trusted.first()
	if best == nil || best.free() < k.Slots {
		best = c.doubted.first()
	}
	if best == nil || best.free() < k.Slots {
		return ""
	}
	best.Used += k.Slots
	if best.Trial {
		best.Used = max(best.Used, best.Slots) // no other now
	}
	return best.ID
}

func misfit(a *Kind, c placement.Need) placement.Mismatch {
	switch {
	case !placement.Offered(a.Org, c.Org):
		return placement.NotOffered
	case !slices.Contains(a.Methods, c.Method):
		return placement.NoMethod
	case !c.Owned(a.Tags):
		return placement.NoTag
	case a.Slots < c.Slots:
		return placement.TooSmall
	case slices.Contains(a.Unhealthy, c.Method):
		return placement.Unhealthy
	case a.Unreachable:
		return placement.NotReceiving
	case a.Avoided:
		return placement.Avoided
	case a.Draining:
		return placement.Draining
	}
	return placement.Fits
}
