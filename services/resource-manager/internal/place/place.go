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
	"strconv"
	"strings"
)

// Kind is what ants that cannot be told apart offer.
type Kind struct {
	Draining  bool
	Deaf      bool // it does not hear of work
	Avoided   bool // it left too many attempts unclaimed, and is not tried now
	Methods   []string
	Unhealthy []string // methods
	Tags      []string
	Slots     int
}

// Takes says whether ants of the kind take work like the ask, be it that they have slots free or not.
func (a *Kind) Takes(k Ask) bool { return misfit(a, k) == fits }

// Ant has slots, and some of them left.
type Ant struct {
	ID      string
	Slots   int
	Used    int  // may be more than Slots after the ant shrank
	Doubted bool // it left attempts unclaimed
	Trial   bool // it left so many that it gets one attempt at a time
}

func (a *Ant) free() int { return a.Slots - a.Used }

// Ask wants slots on an ant.
type Ask struct {
	Method string
	Tags   []string
	Slots  int
}

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
func (b *Board) Show(k Ask, ants []Ant) {
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
	b.classes[k.Class()] = c
}

// Class names asks that fit the same ants.
func (k Ask) Class() string {
	return k.Method + "|" + strings.Join(k.Tags, ",") + "|" + strconv.Itoa(max(k.Slots, 1))
}

// Place takes the slots for one ask and returns the ant; empty when none that was shown has them. Asks without slots count
// for one.
func (b *Board) Place(k Ask) string {
	k.Slots = max(k.Slots, 1)
	c := b.classes[k.Class()]
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

// mismatch orders why an ant never takes an ask: the later, the nearer it came.
type mismatch int

const (
	noMethod mismatch = iota
	noTag
	tooSmall
	unhealthy
	deaf
	avoided
	draining
	fits
)

func misfit(a *Kind, k Ask) mismatch {
	switch {
	case !slices.Contains(a.Methods, k.Method):
		return noMethod
	case !owns(a.Tags, k.Tags):
		return noTag
	case a.Slots < k.Slots:
		return tooSmall
	case slices.Contains(a.Unhealthy, k.Method):
		return unhealthy
	case a.Deaf:
		return deaf
	case a.Avoided:
		return avoided
	case a.Draining:
		return draining
	}
	return fits
}

func owns(have, want []string) bool {
	for _, t := range want {
		if !slices.Contains(have, t) {
			return false
		}
	}
	return true
}
