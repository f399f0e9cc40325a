package place

import (
	"fmt"
	"strconv"
	"strings"
)

// Kinds are ants of one kind, counted.
type Kinds struct {
	Kind
	Ants int
	Used int // slots of all of them
}

// Fleet are all ants that are online, by kind.
type Fleet []Kinds

// Explain says why an ask was refused, by the ants that came nearest.
func (f Fleet) Explain(k Ask) Answer {
	k.Slots = max(k.Slots, 1)
	var n [fits + 1]int
	all, slots, used, largest := 0, 0, 0, 0
	for i := range f {
		a := &f[i]
		m := misfit(&a.Kind, k)
		n[m] += a.Ants
		all += a.Ants
		switch m {
		case fits:
			slots, used = slots+a.Ants*a.Slots, used+a.Used
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
	return Answer{Gate: NoAnt, Reason: want + ": " + lack(k, all, n, largest)}
}

// lack says why none of all ants will take the ask: n counts the ants by what they miss, largest is the one that is too
// small.
func lack(k Ask, all int, n [fits + 1]int, largest int) string {
	tags := strings.Join(k.Tags, " and ")
	switch offering := all - n[noMethod]; {
	case all == 0:
		return "no ant is online"
	case offering == 0 && all == 1:
		return "the only ant does not offer it"
	case offering == 0:
		return fmt.Sprintf("none of %d ants offers it", all)
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
	add(avoided, "match did not claim what they were given and are tried again soon", "matches did not claim what it was given and is tried again soon")
	add(deaf, "match say that they do not hear of work", "matches says that it does not hear of work")
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
