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
		return Answer{Gate: Capacity, Reason: fmt.Sprintf("%s: %d of %s of %s %s taken",
			want, used, count(slots, "slot"), count(n[fits], "matching ant"), plural(used, "is", "are"))}
	}
	return Answer{Gate: NoAnt, Reason: want + ": " + b.lack(k, n, largest)}
}

// lack says why no ant will take the ask: n counts the ants by what they miss, largest is the one that is too small.
func (b *Board) lack(k Ask, n [fits + 1]int, largest int) string {
	tags := strings.Join(k.Tags, " and ")
	switch offering := len(b.ants) - n[noMethod]; {
	case len(b.ants) == 0:
		return "no ant is online"
	case offering == 0 && len(b.ants) == 1:
		return "the only ant does not offer it"
	case offering == 0:
		return fmt.Sprintf("none of %d ants offers it", len(b.ants))
	case n[noTag] == offering && offering == 1:
		return fmt.Sprintf("the only ant that offers %s does not own %s", k.Method, tags)
	case n[noTag] == offering:
		return fmt.Sprintf("%d ants offer %s, none owns %s", offering, k.Method, tags)
	}
	var parts []string
	// add tells of ants in the plural or in the singular.
	add := func(m mismatch, many, one string) {
		switch n[m] {
		case 0:
		case 1:
			parts = append(parts, "1 ant that "+one)
		default:
			parts = append(parts, strconv.Itoa(n[m])+" ants that "+many)
		}
	}
	add(draining, "match are draining", "matches is draining")
	add(unhealthy, "match report "+k.Method+" as unhealthy", "matches reports "+k.Method+" as unhealthy")
	add(tooSmall, "match have at most "+count(largest, "slot"), "matches has "+count(largest, "slot"))
	add(noTag, "offer "+k.Method+" do not own "+tags, "offers "+k.Method+" does not own "+tags)
	return strings.Join(parts, "; ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
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
