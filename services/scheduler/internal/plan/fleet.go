package plan

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/placement"
)

// Ant is what one ant could take.
type Ant struct {
	ID      string
	Org     string // that it is offered to; empty for all
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
	owners   map[string]int // organisations that have ants of their own, and how many
	owned    int            // ants that belong to one
	fits     map[Load]fit
}

// NewFleet returns the fleet of these ants.
func NewFleet(ants []Ant) *Fleet {
	f := &Fleet{ants: slices.Clone(ants), byMethod: map[string][]int{}, owners: map[string]int{}, fits: map[Load]fit{}}
	slices.SortFunc(f.ants, func(a, b Ant) int { return strings.Compare(a.ID, b.ID) })
	for i, a := range f.ants {
		f.slots += a.Slots
		if a.Org != "" {
			f.owners[a.Org]++
			f.owned++
		}
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

// fit returns how the class fits on the ants that are offered to an organisation. Of several classes joined by a semicolon every one needs an ant, and the tightest
// decides: a request should not begin with half of its first tasks.
func (f *Fleet) fit(org, class string) fit {
	if f.owners[org] == 0 {
		org = "" // all of these see the same ants
	}
	if known, ok := f.fits[Load{org, class}]; ok {
		return known
	}
	var tightest fit
	if class != "" { // a run without a first task needs no slot
		for i, one := range strings.Split(class, ";") {
			got := f.single(org, one)
			if i == 0 || got.tasks < tightest.tasks {
				tightest = got
			}
		}
	}
	f.fits[Load{org, class}] = tightest
	return tightest
}

func (f *Fleet) single(org, text string) fit {
	class, err := placement.Parse(text)
	if err != nil {
		return fit{missing: err.Error()}
	}
	offering := f.byMethod[class.Method]
	out := fit{want: class.Words()}
	var t placement.Tally
	others, seen := f.owned-f.owners[org], 0
	for _, i := range offering {
		a := &f.ants[i]
		if !placement.Offered(a.Org, org) {
			continue
		}
		seen++
		switch {
		case !class.Owned(a.Tags):
			t.Add(placement.NoTag, 1, a.Slots, a.Used)
		case a.Slots < class.Slots:
			t.Add(placement.TooSmall, 1, a.Slots, a.Used)
		default:
			out.tasks += a.Slots / class.Slots
			out.slots += a.Slots
			out.used += a.Used
			if len(out.ants) < fewIDs {
				out.ants = append(out.ants, a.ID)
			}
		}
	}
	t.Add(placement.NotOffered, others, 0, 0)
	t.Add(placement.NoMethod, len(f.ants)-others-seen, 0, 0)
	if out.tasks == 0 {
		out.missing = t.Lack(class)
	}
	return out
}
