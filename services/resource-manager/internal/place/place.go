// Package place decides which ant runs which attempt. It is pure: ants and asks in, placements out.
//
// An ant fits when it takes work, offers the method in health, owns all tags and has the slots free. Of those that fit
// the one with the most free slots is taken, then the least loaded, then the first by id. So work spreads over equal
// ants and the same question has the same answer.
package place

import (
	"container/heap"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ant is what an ant offers and what is left of it.
type Ant struct {
	ID        string
	Draining  bool
	Methods   []string
	Unhealthy []string // methods
	Tags      []string
	Slots     int
	Used      int // may be more than Slots after the ant shrank
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
	ants    []Ant
	classes map[string]*class
}

// class are the asks of one kind: they fit the same ants. Once refused it stays so, for slots only get fewer.
type class struct {
	best   ranking
	closed *Answer
}

// NewBoard copies the ants.
func NewBoard(ants []Ant) *Board {
	b := &Board{ants: slices.Clone(ants), classes: map[string]*class{}}
	slices.SortFunc(b.ants, func(x, y Ant) int { return strings.Compare(x.ID, y.ID) })
	return b
}

// Place answers one ask and takes the slots. Asks without slots count for one.
func (b *Board) Place(k Ask) Answer {
	k.Slots = max(k.Slots, 1)
	c := b.class(k)
	if c.closed != nil {
		return *c.closed
	}
	best := c.best.first()
	if best == nil || best.free() < k.Slots {
		refusal := b.explain(k)
		c.closed = &refusal
		return refusal
	}
	best.Used += k.Slots
	return Answer{Ant: best.ID}
}

func (b *Board) class(k Ask) *class {
	key := k.Method + "|" + strings.Join(k.Tags, ",") + "|" + strconv.Itoa(k.Slots)
	if c := b.classes[key]; c != nil {
		return c
	}
	c := &class{}
	for i := range b.ants {
		if a := &b.ants[i]; misfit(a, k) == fits {
			c.best = append(c.best, rank{a, a.free()})
		}
	}
	heap.Init(&c.best)
	b.classes[key] = c
	return c
}

// mismatch orders why an ant never takes an ask: the later, the nearer it came.
type mismatch int

const (
	noMethod mismatch = iota
	noTag
	tooSmall
	unhealthy
	draining
	fits
)

func misfit(a *Ant, k Ask) mismatch {
	switch {
	case !slices.Contains(a.Methods, k.Method):
		return noMethod
	case !owns(a.Tags, k.Tags):
		return noTag
	case a.Slots < k.Slots:
		return tooSmall
	case slices.Contains(a.Unhealthy, k.Method):
		return unhealthy
	case a.Draining:
		return draining
	}
	return fits
}

// explain says why the ask was refused, by the class of ants that came nearest.
func (b *Board) explain(k Ask) Answer {
	var n [fits + 1]int
	slots, used, largest := 0, 0, 0
	for i := range b.ants {
		a := &b.ants[i]
		m := misfit(a, k)
		n[m]++
		switch m {
		case fits:
			slots, used = slots+a.Slots, used+a.Used
		case tooSmall:
			largest = max(largest, a.Slots)
		default:
		}
	}
	want := say(k)
	if n[fits] > 0 {
		return Answer{Gate: Capacity, Reason: fmt.Sprintf("%s: %d of %s of %s are taken", want, used, count(slots, "slot"), count(n[fits], "matching ant"))}
	}
	var parts []string
	add := func(m mismatch, format string, args ...any) {
		if n[m] > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	switch offering := len(b.ants) - n[noMethod]; {
	case len(b.ants) == 0:
		parts = append(parts, "no ant is online")
	case offering == 0:
		parts = append(parts, fmt.Sprintf("none of %s offers it", count(len(b.ants), "ant")))
	case n[noTag] == offering:
		parts = append(parts, fmt.Sprintf("%s offer %s, none owns %s", count(offering, "ant"), k.Method, strings.Join(k.Tags, " and ")))
	default:
		add(draining, "%s that match are draining", count(n[draining], "ant"))
		add(unhealthy, "%s that match report %s as unhealthy", count(n[unhealthy], "ant"), k.Method)
		add(tooSmall, "%s that match have at most %s", count(n[tooSmall], "ant"), count(largest, "slot"))
		add(noTag, "%s that offer %s do not own %s", count(n[noTag], "ant"), k.Method, strings.Join(k.Tags, " and "))
	}
	return Answer{Gate: NoAnt, Reason: want + ": " + strings.Join(parts, "; ")}
}

func owns(have, want []string) bool {
	for _, t := range want {
		if !slices.Contains(have, t) {
			return false
		}
	}
	return true
}

func say(k Ask) string {
	s := "method " + k.Method
	if len(k.Tags) > 0 {
		s += " with tags [" + strings.Join(k.Tags, ", ") + "]"
	}
	if k.Slots > 1 {
		s += " and " + strconv.Itoa(k.Slots) + " slots"
	}
	return s
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
