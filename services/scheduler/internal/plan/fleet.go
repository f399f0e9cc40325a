package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ant is what one ant could take.
type Ant struct {
	ID      string
	Methods []string
	Tags    []string
	Slots   int
	Used    int
}

// Fleet is the ants that take work. It remembers what it found out about a placement class, so it serves one
// goroutine at a time.
type Fleet struct {
	ants     []Ant
	byMethod map[string][]int // indexes into ants, by id
	slots    int
	fits     map[string]fit
}

// NewFleet returns the fleet of these ants.
func NewFleet(ants []Ant) *Fleet {
	f := &Fleet{ants: slices.Clone(ants), byMethod: map[string][]int{}, fits: map[string]fit{}}
	slices.SortFunc(f.ants, func(a, b Ant) int { return strings.Compare(a.ID, b.ID) })
	for i, a := range f.ants {
		f.slots += a.Slots
		for _, m := range a.Methods {
			f.byMethod[m] = append(f.byMethod[m], i)
		}
	}
	return f
}

// Slots of all ants together.
func (f *Fleet) Slots() int { return f.slots }

// fit is how a placement class fits on the fleet.
type fit struct {
	want        string   // the class in words; empty when it has no first task
	tasks       int      // that could run at once, were every slot free
	slots, used int      // of the ants that match
	ants        []string // that match, a few
	missing     string   // why no ant will ever take it; empty when one could
}

// fit returns how the class fits. Of several classes joined by a semicolon every one needs an ant, and the tightest
// decides: a request should not begin with half of its first tasks.
func (f *Fleet) fit(class string) fit {
	if known, ok := f.fits[class]; ok {
		return known
	}
	var tightest fit
	if class != "" { // a run without a first task needs no slot
		for i, one := range strings.Split(class, ";") {
			got := f.single(one)
			if i == 0 || got.tasks < tightest.tasks {
				tightest = got
			}
		}
	}
	f.fits[class] = tightest
	return tightest
}

func (f *Fleet) single(class string) fit {
	method, tags, slots, err := parse(class)
	if err != nil {
		return fit{missing: err.Error()}
	}
	offering := f.byMethod[method]
	out := fit{want: say(method, tags)}
	tagged, largest := 0, 0
	for _, i := range offering {
		a := &f.ants[i]
		if !owns(a.Tags, tags) {
			continue
		}
		tagged++
		largest = max(largest, a.Slots)
		if a.Slots < slots {
			continue
		}
		out.tasks += a.Slots / slots
		out.slots += a.Slots
		out.used += a.Used
		if len(out.ants) < fewIDs {
			out.ants = append(out.ants, a.ID)
		}
	}
	if out.tasks > 0 {
		return out
	}
	out.missing = out.want + ": " + f.lack(method, tags, len(offering), tagged, slots, largest)
	return out
}

// lack says what no ant has: offering ants know the method, tagged of them own the tags, the largest has so many slots.
func (f *Fleet) lack(method string, tags []string, offering, tagged, slots, largest int) string {
	owned := strings.Join(tags, " and ")
	switch {
	case len(f.ants) == 0:
		return "no ant takes work"
	case offering == 0 && len(f.ants) == 1:
		return "the only ant does not offer it"
	case offering == 0:
		return fmt.Sprintf("none of %d ants offers it", len(f.ants))
	case tagged == 0 && offering == 1:
		return fmt.Sprintf("the only ant that offers %s does not own %s", method, owned)
	case tagged == 0:
		return fmt.Sprintf("%d ants offer %s, none owns %s", offering, method, owned)
	case tagged == 1:
		return fmt.Sprintf("it needs %s, the only ant that matches has %d", count(slots, "slot"), largest)
	default:
		return fmt.Sprintf("it needs %s, the largest of %d ants has %d", count(slots, "slot"), tagged, largest)
	}
}

// parse reads "METHOD|tag,tag|slots"; without slots it is one.
func parse(class string) (method string, tags []string, slots int, err error) {
	parts := strings.Split(class, "|")
	slots = 1
	if len(parts) == 3 {
		slots, err = strconv.Atoi(parts[2])
	}
	if err != nil || len(parts) < 2 || len(parts) > 3 || parts[0] == "" || slots < 0 {
		return "", nil, 0, fmt.Errorf("placement class %q cannot be read", class)
	}
	if parts[1] != "" {
		tags = strings.Split(parts[1], ",")
	}
	return parts[0], tags, max(slots, 1), nil
}

func owns(have, want []string) bool {
	for _, t := range want {
		if !slices.Contains(have, t) {
			return false
		}
	}
	return true
}

// say names a class for a person.
func say(method string, tags []string) string {
	if len(tags) == 0 {
		return "method " + method
	}
	return fmt.Sprintf("method %s with tags [%s]", method, strings.Join(tags, ", "))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
