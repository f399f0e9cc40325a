package place_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
)

// ant is one with all that the board and the fleet need to know.
type ant struct {
	place.Ant
	place.Kind
}

func shellAnt(id string, slots, used int, change ...func(*ant)) ant {
	a := ant{place.Ant{ID: id, Slots: slots, Used: used}, place.Kind{Methods: []string{"SHELL"}, Slots: slots}}
	for _, f := range change {
		f(&a)
	}
	return a
}

func tags(t ...string) func(*ant) { return func(a *ant) { a.Tags = t } }

func drains(a *ant) { a.Draining = true }

func sick(a *ant) { a.Unhealthy = []string{"SHELL"} }

func unreachable(a *ant) { a.Unreachable = true }

func doubted(a *ant) { a.Doubted = true }

func onTrial(a *ant) { a.Doubted, a.Trial = true, true }

func avoided(a *ant) { a.Doubted, a.Avoided = true, true }

// fixture is a board and the fleet behind it.
type fixture struct {
	board *place.Board
	ants  []ant
	shown map[string]bool
}

func newFixture(ants []ant) *fixture {
	return &fixture{place.NewBoard(), slices.Clone(ants), map[string]bool{}}
}

func (d *fixture) place(c placement.Class) place.Answer { return d.placeOf("o", c) }

func (d *fixture) placeOf(org string, c placement.Class) place.Answer {
	k := placement.Need{Org: org, Class: c}
	k.Slots = max(k.Slots, 1)
	if !d.shown[k.String()] {
		d.shown[k.String()] = true
		var take []place.Ant
		for i := range d.ants {
			if d.ants[i].Takes(k) {
				take = append(take, d.ants[i].Ant)
			}
		}
		d.board.Show(k, take)
	}
	if id := d.board.Place(k); id != "" {
		i := slices.IndexFunc(d.ants, func(a ant) bool { return a.ID == id })
		d.ants[i].Used += k.Slots
		return place.Answer{Ant: id}
	}
	var f place.Fleet
	for _, a := range d.ants {
		f = append(f, place.Kinds{Kind: a.Kind, Ants: 1, Used: a.Used})
	}
	return f.Explain(k)
}

// Ants of another organisation are none: they take nothing, and no reason counts them.
func TestAntsOfAnotherOrganisation(t *testing.T) {
	own := func(org string) func(*ant) { return func(a *ant) { a.Org = org } }
	docker := placement.Class{Method: "DOCKER"}
	shell := placement.Class{Method: "SHELL"}
	d := newFixture([]ant{shellAnt("a", 8, 0, own("a")), shellAnt("shared", 1, 0), shellAnt("a2", 1, 0, own("a"))})
	for _, c := range []struct {
		org  string
		ask  placement.Class
		want string
	}{
		{"a", shell, "a"},
		{"b", shell, "shared"},
		{"b", shell, "method SHELL: 1 of 1 slot of 1 matching ant is taken"},
		{"a", shell, "a"},
		{"a", docker, "method DOCKER: none of 3 ants offers it"},
		{"b", docker, "method DOCKER: the only ant does not offer it"},
	} {
		if got := d.placeOf(c.org, c.ask); got.Ant+got.Reason != c.want {
			t.Errorf("%s, %s: %+v, want %s", c.org, c.ask, got, c.want)
		}
	}
	if got := newFixture([]ant{shellAnt("a", 8, 0, own("a"))}).placeOf("b", shell); got.Gate != place.NoAnt || got.Reason != "method SHELL: no ant offers it to this organisation" {
		t.Errorf("%+v", got)
	}
}

func TestPlace(t *testing.T) {
	shell := placement.Class{Method: "SHELL", Slots: 1}
	for _, c := range []struct {
		name string
		ants []ant
		asks []placement.Class
		want []string // ant, or gate: reason
	}{
		{"no ants", nil, []placement.Class{shell}, []string{"no_ant: method SHELL: no ant is online"}},
		{"most free slots", []ant{shellAnt("a", 8, 7), shellAnt("b", 4, 0)}, []placement.Class{shell}, []string{"b"}},
		{"least loaded of equally free", []ant{shellAnt("a", 4, 2), shellAnt("b", 9, 7), shellAnt("c", 2, 0)}, []placement.Class{shell}, []string{"c"}},
		{"then by id", []ant{shellAnt("b", 2, 0), shellAnt("a", 2, 0)}, []placement.Class{shell}, []string{"a"}},
		{
			"spreads",
			[]ant{shellAnt("a", 2, 0), shellAnt("b", 2, 0)},
			[]placement.Class{shell, shell, shell, shell, shell},
			[]string{"a", "b", "a", "b", "capacity: method SHELL: 4 of 4 slots of 2 matching ants are taken"},
		},
		{
			"no slots asked is one",
			[]ant{shellAnt("a", 1, 0)},
			[]placement.Class{{Method: "SHELL"}, {Method: "SHELL"}},
			[]string{"a", "capacity: method SHELL: 1 of 1 slot of 1 matching ant is taken"},
		},
		{
			"a small ask fits after a big one was refused",
			[]ant{shellAnt("a", 4, 2)},
			[]placement.Class{{Method: "SHELL", Slots: 3}, shell},
			[]string{"capacity: method SHELL and 3 slots: 2 of 4 slots of 1 matching ant are taken", "a"},
		},
		{
			"all tags",
			[]ant{shellAnt("a", 4, 0, tags("gpu")), shellAnt("b", 1, 0, tags("gpu", "x64"))},
			[]placement.Class{{Method: "SHELL", Tags: []string{"gpu", "x64"}}},
			[]string{"b"},
		},
		{
			"method that none offers",
			[]ant{shellAnt("a", 4, 0), shellAnt("b", 4, 0)},
			[]placement.Class{{Method: "DOCKER"}},
			[]string{"no_ant: method DOCKER: none of 2 ants offers it"},
		},
		{
			"tag that none owns",
			[]ant{shellAnt("a", 4, 0), shellAnt("b", 4, 0, tags("x64"))},
			[]placement.Class{{Method: "SHELL", Tags: []string{"gpu"}}},
			[]string{"no_ant: method SHELL with tags [gpu]: 2 ants offer SHELL, none owns gpu"},
		},
		{
			"larger than any ant",
			[]ant{shellAnt("a", 4, 0), shellAnt("b", 2, 0)},
			[]placement.Class{{Method: "SHELL", Slots: 5}},
			[]string{"no_ant: method SHELL and 5 slots: 2 ants that match have at most 4 slots"},
		},
		{
			"drained, sick and untagged",
			[]ant{shellAnt("a", 4, 0, tags("x"), drains), shellAnt("b", 2, 0, tags("x"), sick), shellAnt("c", 2, 0)},
			[]placement.Class{{Method: "SHELL", Tags: []string{"x"}}},
			[]string{"no_ant: method SHELL with tags [x]: 1 ant that matches is draining; 1 ant that matches reports SHELL as unhealthy; 1 ant that offers SHELL does not own x"},
		},
		{"the only ant, method", []ant{shellAnt("a", 1, 0)}, []placement.Class{{Method: "DOCKER"}}, []string{"no_ant: method DOCKER: the only ant does not offer it"}},
		{
			"the only ant, tag",
			[]ant{shellAnt("a", 1, 0)},
			[]placement.Class{{Method: "SHELL", Tags: []string{"gpu"}}},
			[]string{"no_ant: method SHELL with tags [gpu]: the only ant that offers SHELL does not own gpu"},
		},
		{"the only ant, slots", []ant{shellAnt("a", 1, 0)}, []placement.Class{{Method: "SHELL", Slots: 2}}, []string{"no_ant: method SHELL and 2 slots: 1 ant that matches has 1 slot"}},
		{"shrunk below its use", []ant{shellAnt("a", 2, 5)}, []placement.Class{shell}, []string{"capacity: method SHELL: 5 of 2 slots of 1 matching ant are taken"}},
		{
			"doubted after all others",
			[]ant{shellAnt("a", 8, 0, doubted), shellAnt("b", 4, 3)},
			[]placement.Class{shell, shell, shell},
			[]string{"b", "a", "a"},
		},
		{
			"one attempt on trial",
			[]ant{shellAnt("a", 8, 2, onTrial)},
			[]placement.Class{shell, shell},
			[]string{"a", "capacity: method SHELL: 3 of 8 slots of 1 matching ant are taken"},
		},
		{
			"unreachable and avoided",
			[]ant{shellAnt("a", 8, 0, unreachable), shellAnt("b", 8, 0, avoided), shellAnt("c", 8, 0, avoided)},
			[]placement.Class{shell},
			[]string{"no_ant: method SHELL: 2 ants that match did not claim what they were given and are tried again soon; 1 ant that matches says that it does not hear of work"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture(c.ants)
			for i, k := range c.asks {
				a := d.place(k)
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

func fleet(r *rapid.T) []ant {
	words := func(label string, from ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, len(from), rapid.ID[string]).Draw(r, label)
	}
	ants := make([]ant, rapid.IntRange(0, 6).Draw(r, "ants"))
	for i := range ants {
		slots := rapid.IntRange(1, 8).Draw(r, "slots")
		rarely := func(label string) bool { return rapid.IntRange(0, 5).Draw(r, label) == 0 }
		ants[i] = ant{
			place.Ant{ID: fmt.Sprintf("a%d", i), Slots: slots, Used: rapid.IntRange(0, slots+1).Draw(r, "used"), Doubted: rarely("doubted")},
			place.Kind{
				Slots: slots, Draining: rarely("draining"), Unreachable: rarely("unreachable"), Avoided: rarely("avoided"),
				Methods: words("methods", "SHELL", "HTTP"), Tags: words("tags", "x", "y"), Unhealthy: words("unhealthy", "HTTP"),
			},
		}
	}
	return ants
}

func TestPlaceKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ants := fleet(r)
		index := map[string]*ant{}
		mine := slices.Clone(ants)
		for i := range mine {
			index[mine[i].ID] = &mine[i]
		}
		shuffled := rapid.Permutation(ants).Draw(r, "order")
		board, again := newFixture(ants), newFixture(shuffled)
		for range rapid.IntRange(0, 40).Draw(r, "asks") {
			k := placement.Class{
				Method: rapid.SampledFrom([]string{"SHELL", "HTTP", "DOCKER"}).Draw(r, "method"),
				Tags:   rapid.SampledFrom([][]string{nil, {"x"}, {"x", "y"}}).Draw(r, "tags"), Slots: rapid.IntRange(1, 4).Draw(r, "slots"),
			}
			got := board.place(k)
			if other := again.place(k); other != got {
				r.Fatalf("another order of ants gives %+v, not %+v", other, got)
			}
			can := func(a *ant) bool {
				for _, tag := range k.Tags {
					if !slices.Contains(a.Tags, tag) {
						return false
					}
				}
				return !a.Draining && !a.Unreachable && !a.Avoided && slices.Contains(a.Methods, k.Method) && !slices.Contains(a.Unhealthy, k.Method) && a.Ant.Slots-a.Used >= k.Slots
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
				if m := &mine[i]; can(m) && (m.Ant.Slots-m.Used > a.Ant.Slots-a.Used && m.Doubted == a.Doubted || a.Doubted && !m.Doubted) {
					r.Fatalf("%+v placed on %+v, %+v comes before", k, *a, *m)
				}
			}
			a.Used += k.Slots
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	ants := make([]place.Ant, 500)
	for i := range ants {
		ants[i] = shellAnt(fmt.Sprintf("a%03d", i), 16, i%3).Ant
	}
	for b.Loop() {
		board := place.NewBoard()
		need := placement.Need{Org: "o", Class: placement.Class{Method: "SHELL", Slots: 1}}
		board.Show(need, ants)
		for range 1000 {
			board.Place(need)
		}
	}
}
