// Package placement names what a task needs of an ant, and says in words why no ant has it. The scheduler asks before a
// request begins, resource-manager when a task is placed: people read the same sentences.
package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Class is what a task needs of an ant. Tasks of one class fit the same ants.
type Class struct {
	Method string   `json:"method"`
	Tags   []string `json:"tags,omitempty"`
	Slots  int      `json:"slots"`
}

// String is equal for equal classes: "METHOD|tag,tag|slots".
func (c Class) String() string {
	return c.Method + "|" + strings.Join(c.Tags, ",") + "|" + strconv.Itoa(c.Slots)
}

// Need is a class that an organisation asks for: of two organisations even the same class may fit other ants.
type Need struct {
	Org string
	Class
}

// String is equal for equal needs: "org|METHOD|tag,tag|slots". Split takes it apart.
func (n Need) String() string { return n.Org + "|" + n.Class.String() }

// Offered reports whether an ant of that owner is offered to the organisation: its own, and those that belong to none.
func Offered(owner, org string) bool { return owner == "" || owner == org }

// Parse is the inverse of String. Without slots, or with none, a class has one.
func Parse(text string) (Class, error) {
	parts := strings.Split(text, "|")
	c := Class{Slots: 1}
	var err error
	if len(parts) == 3 {
		c.Slots, err = strconv.Atoi(parts[2])
	}
	if err != nil || len(parts) < 2 || len(parts) > 3 || parts[0] == "" || c.Slots < 0 {
		return Class{}, fmt.Errorf("placement class %q cannot be read", text)
	}
	c.Method, c.Slots = parts[0], max(c.Slots, 1)
	if parts[1] != "" {
		c.Tags = strings.Split(parts[1], ",")
	}
	return c, nil
}

// Split takes a class that was stored behind its organisation, "org|METHOD|tag,tag|slots", apart. The organisation may
// hold a bar, the rest cannot.
func Split(text string) (org, class string) {
	at := len(text)
	for range 3 {
		if at = strings.LastIndexByte(text[:at], '|'); at < 0 {
			return text, ""
		}
	}
	return text[:at], text[at+1:]
}

// Words name the class for a person.
func (c Class) Words() string {
	s := "method " + c.Method
	if len(c.Tags) > 0 {
		s += " with tags [" + strings.Join(c.Tags, ", ") + "]"
	}
	if c.Slots > 1 {
		s += " and " + strconv.Itoa(c.Slots) + " slots"
	}
	return s
}

// Owned reports whether an ant with these tags owns those of the class.
func (c Class) Owned(tags []string) bool {
	for _, t := range c.Tags {
		if !slices.Contains(tags, t) {
			return false
		}
	}
	return true
}

// Mismatch orders why an ant does not take a class: the later, the nearer it comes.
type Mismatch int

// The mismatches.
const (
	NotOffered Mismatch = iota // it belongs to another organisation, to whose people alone it exists
	NoMethod
	NoTag
	TooSmall
	Unhealthy
	NotReceiving // it does not hear of work
	Avoided      // it left too many attempts unclaimed, and is not tried now
	Draining
	Fits
	kinds
)

// Tally counts ants by what they miss of a class.
type Tally struct {
	Ants    [kinds]int
	Largest int // slots of the largest that is too small
	Slots   int // of those that fit
	Used    int // of these
}

// Add counts ants of one kind.
func (t *Tally) Add(m Mismatch, ants, slots, used int) {
	t.Ants[m] += ants
	switch m {
	case Fits:
		t.Slots, t.Used = t.Slots+ants*slots, t.Used+used
	case TooSmall:
		t.Largest = max(t.Largest, slots)
	case NotOffered, NoMethod, NoTag, Unhealthy, NotReceiving, Avoided, Draining, kinds:
	}
}

// Taken says that the slots of the ants that fit are taken.
func (t *Tally) Taken(c Class) string {
	return fmt.Sprintf("%s: %d of %s of %s %s taken",
		c.Words(), t.Used, Count(t.Slots, "slot"), Count(t.Ants[Fits], "matching ant"), Plural(t.Used, "is", "are"))
}

// Lack says why none of the ants takes the class.
func (t *Tally) Lack(c Class) string {
	return c.Words() + ": " + t.lack(c)
}

func (t *Tally) lack(c Class) string {
	n, all := &t.Ants, 0
	for _, ants := range n[NoMethod:] {
		all += ants
	}
	tags := strings.Join(c.Tags, " and ")
	switch offering := all - n[NoMethod]; {
	case all == 0 && n[NotOffered] > 0:
		return "no ant offers it to this organisation"
	case all == 0:
		return "no ant is online"
	case offering == 0 && all == 1:
		return "the only ant does not offer it"
	case offering == 0:
		return fmt.Sprintf("none of %d ants offers it", all)
	case n[NoTag] == offering && offering == 1:
		return fmt.Sprintf("the only ant that offers %s does not own %s", c.Method, tags)
	case n[NoTag] == offering:
		return fmt.Sprintf("%d ants offer %s, none owns %s", offering, c.Method, tags)
	}
	var parts []string
	// add tells of ants in the plural or in the singular.
	add := func(m Mismatch, many, one string) {
		switch n[m] {
		case 0:
		case 1:
			parts = append(parts, "1 ant that "+one)
		default:
			parts = append(parts, strconv.Itoa(n[m])+" ants that "+many)
		}
	}
	add(Draining, "match are draining", "matches is draining")
	add(Avoided, "match did not claim what they were given and are tried again soon", "matches did not claim what it was given and is tried again soon")
	add(NotReceiving, "match say that they do not hear of work", "matches says that it does not hear of work")
	add(Unhealthy, "match report "+c.Method+" as unhealthy", "matches reports "+c.Method+" as unhealthy")
	add(TooSmall, "match have at most "+Count(t.Largest, "slot"), "matches has "+Count(t.Largest, "slot"))
	add(NoTag, "offer "+c.Method+" do not own "+tags, "offers "+c.Method+" does not own "+tags)
	return strings.Join(parts, "; ")
}

// Count is a number with its noun: "1 slot", "2 slots".
func Count(n int, noun string) string {
	return strconv.Itoa(n) + " " + Plural(n, noun, noun+"s")
}

// Plural chooses a word by number.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
