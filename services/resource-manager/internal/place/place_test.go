package place_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/formicary/formicary/services/resource-manager/internal/place"
)

func shellAnt(id string, slots, used int, change ...func(*place.Ant)) place.Ant {
	a := place.Ant{ID: id, Methods: []string{"SHELL"}, Slots: slots, Used: used}
	for _, f := range change {
		f(&a)
	}
	return a
}

func tags(t ...string) func(*place.Ant) { return func(a *place.Ant) { a.Tags = t } }

func drains(a *place.Ant) { a.Draining = true }

func sick(a *place.Ant) { a.Unhealthy = []string{"SHELL"} }

func TestPlace(t *testing.T) {
	shell := place.Ask{Method: "SHELL", Slots: 1}
	for _, c := range []struct {
		name string
		ants []place.Ant
		asks []place.Ask
		want []string // ant, or gate: reason
	}{
		{"no ants", nil, []place.Ask{shell}, []string{"no_ant: method SHELL: no ant is online"}},
		{"most free slots", []place.Ant{shellAnt("a", 8, 7), shellAnt("b", 4, 0)}, []place.Ask{shell}, []string{"b"}},
		{"least loaded of equally free", []place.Ant{shellAnt("a", 4, 2), shellAnt("b", 9, 7), shellAnt("c", 2, 0)}, []place.Ask{shell}, []string{"c"}},
		{"then by id", []place.Ant{shellAnt("b", 2, 0), shellAnt("a", 2, 0)}, []place.Ask{shell}, []string{"a"}},
		{
			"spreads",
			[]place.Ant{shellAnt("a", 2, 0), shellAnt("b", 2, 0)},
			[]place.Ask{shell, shell, shell, shell, shell},
			[]string{"a", "b", "a", "b", "capacity: method SHELL: 4 of 4 slots of 2 matching ants are taken"},
		},
		{
			"no slots asked is one",
			[]place.Ant{shellAnt("a", 1, 0)},
			[]place.Ask{{Method: "SHELL"}, {Method: "SHELL"}},
			[]string{"a", "capacity: method SHELL: 1 of 1 slot of 1 matching ant is taken"},
		},
		{
			"a small ask fits after a big one was refused",
			[]place.Ant{shellAnt("a", 4, 2)},
			[]place.Ask{{Method: "SHELL", Slots: 3}, shell},
			[]string{"capacity: method SHELL and 3 slots: 2 of 4 slots of 1 matching ant are taken", "a"},
		},
		{
			"all tags",
			[]place.Ant{shellAnt("a", 4, 0, tags("gpu")), shellAnt("b", 1, 0, tags("gpu", "x64"))},
			[]place.Ask{{Method: "SHELL", Tags: []string{"gpu", "x64"}}},
			[]string{"b"},
		},
		{
			"method that none offers",
			[]place.Ant{shellAnt("a", 4, 0), shellAnt("b", 4, 0)},
			[]place.Ask{{Method: "DOCKER"}},
			[]string{"no_ant: method DOCKER: none of 2 ants offers it"},
		},
		{
			"tag that none owns",
			[]place.Ant{shellAnt("a", 4, 0), shellAnt("b", 4, 0, tags("x64"))},
			[]place.Ask{{Method: "SHELL", Tags: []string{"gpu"}}},
			[]string{"no_ant: method SHELL with tags [gpu]: 2 ants offer SHELL, none owns gpu"},
		},
		{
			"larger than any ant",
			[]place.Ant{shellAnt("a", 4, 0), shellAnt("b", 2, 0)},
			[]place.Ask{{Method: "SHELL", Slots: 5}},
			[]string{"no_ant: method SHELL and 5 slots: 2 ants that match have at most 4 slots"},
		},
		{
			"drained, sick and untagged",
			[]place.Ant{shellAnt("a", 4, 0, tags("x"), drains), shellAnt("b", 2, 0, tags("x"), sick), shellAnt("c", 2, 0)},
			[]place.Ask{{Method: "SHELL", Tags: []string{"x"}}},
			[]string{"no_ant: method SHELL with tags [x]: 1 ant that matches is draining; 1 ant that matches reports SHELL as unhealthy; 1 ant that offers SHELL does not own x"},
		},
		{"the only ant, method", []place.Ant{shellAnt("a", 1, 0)}, []place.Ask{{Method: "DOCKER"}}, []string{"no_ant: method DOCKER: the only ant does not offer it"}},
		{
			"the only ant, tag",
			[]place.Ant{shellAnt("a", 1, 0)},
			[]place.Ask{{Method: "SHELL", Tags: []string{"gpu"}}},
			[]string{"no_ant: method SHELL with tags [gpu]: the only ant that offers SHELL does not own gpu"},
		},
		{"the only ant, slots", []place.Ant{shellAnt("a", 1, 0)}, []place.Ask{{Method: "SHELL", Slots: 2}}, []string{"no_ant: method SHELL and 2 slots: 1 ant that matches has 1 slot"}},
		{"shrunk below its use", []place.Ant{shellAnt("a", 2, 5)}, []place.Ask{shell}, []string{"capacity: method SHELL: 5 of 2 slots of 1 matching ant are taken"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := place.NewBoard(c.ants)
			for i, k := range c.asks {
				a := b.Place(k)
				got := a.Ant
				if a.Ant == "" {
					got = string(a.Gate) + ": " + a.Reason
				}
				if got != c.want[i] {
					t.Errorf("ask %d: %q, want %q", i, got, c.want[i])
				}
			}
		})
	}
}

func fleet(r *rapid.T) []place.Ant {
	words := func(label string, from ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, len(from), rapid.ID[string]).Draw(r, label)
	}
	ants := make([]place.Ant, rapid.IntRange(0, 6).Draw(r, "ants"))
	for i := range ants {
		slots := rapid.IntRange(1, 8).Draw(r, "slots")
		ants[i] = place.Ant{
			ID: fmt.Sprintf("a%d", i), Slots: slots, Used: rapid.IntRange(0, slots+1).Draw(r, "used"), Draining: rapid.IntRange(0, 5).Draw(r, "draining") == 0,
			Methods: words("methods", "SHELL", "HTTP"), Tags: words("tags", "x", "y"), Unhealthy: words("unhealthy", "HTTP"),
		}
	}
	return ants
}

func TestPlaceKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ants := fleet(r)
		index := map[string]*place.Ant{}
		mine := slices.Clone(ants)
		for i := range mine {
			index[mine[i].ID] = &mine[i]
		}
		shuffled := rapid.Permutation(ants).Draw(r, "order")
		board, again := place.NewBoard(ants), place.NewBoard(shuffled)
		for range rapid.IntRange(0, 40).Draw(r, "asks") {
			k := place.Ask{
				Method: rapid.SampledFrom([]string{"SHELL", "HTTP", "DOCKER"}).Draw(r, "method"),
				Tags:   rapid.SampledFrom([][]string{nil, {"x"}, {"x", "y"}}).Draw(r, "tags"), Slots: rapid.IntRange(1, 4).Draw(r, "slots"),
			}
			got := board.Place(k)
			if other := again.Place(k); other != got {
				r.Fatalf("another order of ants gives %+v, not %+v", other, got)
			}
			can := func(a *place.Ant) bool {
				for _, tag := range k.Tags {
					if !slices.Contains(a.Tags, tag) {
						return false
					}
				}
				return !a.Draining && slices.Contains(a.Methods, k.Method) && !slices.Contains(a.Unhealthy, k.Method) && a.Slots-a.Used >= k.Slots
			}
			if got.Ant == "" {
				if got.Gate == place.Open || !strings.HasPrefix(got.Reason, "method "+k.Method) {
					r.Fatalf("refused without a reason: %+v", got)
				}
				for i := range mine {
					if can(&mine[i]) {
						r.Fatalf("%+v refused (%s), but %+v takes it", k, got.Reason, mine[i])
					}
				}
				continue
			}
			a := index[got.Ant]
			if !can(a) {
				r.Fatalf("%+v placed on %+v", k, *a)
			}
			for i := range mine {
				if m := &mine[i]; can(m) && m.Slots-m.Used > a.Slots-a.Used {
					r.Fatalf("%+v placed on %+v, %+v has more free", k, *a, *m)
				}
			}
			a.Used += k.Slots
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	ants := make([]place.Ant, 500)
	for i := range ants {
		ants[i] = shellAnt(fmt.Sprintf("a%03d", i), 16, i%3)
	}
	for b.Loop() {
		board := place.NewBoard(ants)
		for range 1000 {
			board.Place(place.Ask{Method: "SHELL", Slots: 1})
		}
	}
}
