package plan_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/formicary/formicary/services/scheduler/internal/plan"
)

var (
	epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	shell = "SHELL||1"
)

func at(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }

// head is of class SHELL, its id tells its order.
func head(id string, priority, age int) plan.Head {
	return plan.Head{ID: id, Priority: priority, Age: at(age), Class: shell}
}

func heads(prefix string, n int) []plan.Head {
	out := make([]plan.Head, n)
	for i := range out {
		out[i] = head(fmt.Sprintf("%s%03d", prefix, i), 0, i)
	}
	return out
}

func queue(name string, hs ...plan.Head) plan.Type {
	return plan.Type{Org: "o", Name: name, Heads: hs, Pending: len(hs)}
}

func with(t plan.Type, change func(*plan.Type)) plan.Type {
	change(&t)
	return t
}

var twoAnts = []plan.Ant{
	{ID: "b", Methods: []string{"SHELL"}, Tags: []string{"linux"}, Slots: 4, Used: 4},
	{ID: "a", Methods: []string{"SHELL", "HTTP_GET"}, Slots: 2, Used: 1},
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		types []plan.Type
		loads map[plan.Load]int
		ants  []plan.Ant
		admit string   // ids, joined
		gates []string // kind type class: reason
		more  bool
		blind bool
	}{
		{name: "nothing pending", ants: twoAnts},
		{
			name:  "priority, then age, over all types",
			types: []plan.Type{queue("x", head("b", 5, 9), head("c", 1, 1)), queue("y", head("a", 9, 9), head("d", 1, 2))},
			ants:  twoAnts, admit: "a b c d",
		},
		{
			name:  "one at a time, nothing active",
			types: []plan.Type{with(queue("x", head("a", 0, 1), head("b", 0, 2)), func(t *plan.Type) { t.MaxConcurrency = 1 })},
			ants:  twoAnts, admit: "a",
			gates: []string{"2 x: job type x may run 1 request at once and 1 does: a"},
		},
		{
			name: "a held type keeps no other back, and names who holds it",
			types: []plan.Type{
				with(queue("x", head("a", 9, 1)), func(t *plan.Type) { t.MaxConcurrency, t.Active, t.Holders = 2, 3, []string{"h1", "h2"} }),
				queue("y", head("b", 0, 2)),
			},
			ants: twoAnts, admit: "b",
			gates: []string{"2 x: job type x may run 2 requests at once and 3 do: h1, h2 and 1 more"},
		},
		{
			name:  "no limit",
			types: []plan.Type{with(queue("x", heads("a", 3)...), func(t *plan.Type) { t.Active = 1000 })},
			ants:  twoAnts, admit: "a000 a001 a002",
		},
		{
			name:  "disabled",
			types: []plan.Type{with(queue("x", head("a", 0, 1)), func(t *plan.Type) { t.Disabled = true })},
			ants:  twoAnts, gates: []string{"1 x: job type x is disabled"},
		},
		{
			name:  "no ants at all",
			types: []plan.Type{queue("x", head("a", 0, 1))},
			gates: []string{"4  SHELL||1: method SHELL: no ant is online"},
		},
		{
			name: "what no ant offers waits, the rest goes on",
			types: []plan.Type{queue("x",
				plan.Head{ID: "a", Age: at(1), Class: "KUBERNETES||1"},
				plan.Head{ID: "b", Age: at(2), Class: "SHELL|gpu,x64|1"},
				plan.Head{ID: "c", Age: at(3), Class: "SHELL||8"},
				plan.Head{ID: "d", Age: at(4), Class: "HTTP_GET||1;SHELL|gpu|1"},
				plan.Head{ID: "e", Age: at(5), Class: "nonsense"},
				plan.Head{ID: "f", Age: at(6), Class: "SHELL|linux|4"},
				plan.Head{ID: "g", Age: at(7), Class: "HTTP_GET||1;SHELL|linux|1"},
				plan.Head{ID: "h", Age: at(8), Class: "HTTP_GET|"},
				plan.Head{ID: "i", Age: at(9), Class: ""},
			)},
			ants: twoAnts, admit: "f g h i",
			gates: []string{
				"4  HTTP_GET||1;SHELL|gpu|1: method SHELL with tags [gpu]: 2 ants offer SHELL, none owns gpu",
				"4  KUBERNETES||1: method KUBERNETES: none of 2 ants offers it",
				"4  SHELL|gpu,x64|1: method SHELL with tags [gpu, x64]: 2 ants offer SHELL, none owns gpu and x64",
				"4  SHELL||8: method SHELL and 8 slots: 2 ants that match have at most 4 slots",
				`4  nonsense: placement class "nonsense" cannot be read`,
			},
		},
		{
			name:  "little ahead of few slots",
			types: []plan.Type{queue("x", heads("a", 4)...)},
			loads: map[plan.Load]int{{"", shell}: 14},
			ants:  twoAnts, admit: "a000 a001",
			gates: []string{"3  SHELL||1: method SHELL: 5 of 6 slots are taken and 16 requests before it wait for one"},
		},
		{
			name:  "twice the slots when they are many",
			types: []plan.Type{queue("x", heads("a", 2)...)},
			loads: map[plan.Load]int{{"", shell}: 39},
			ants:  []plan.Ant{{ID: "a", Methods: []string{"SHELL"}, Slots: 20}}, admit: "a000",
			gates: []string{"3  SHELL||1: method SHELL: 0 of 20 slots are taken and 40 requests before it wait for one"},
		},
		{
			name: "one ant is told of in the singular",
			types: []plan.Type{queue("x",
				plan.Head{ID: "a", Age: at(1), Class: "DOCKER||1"},
				plan.Head{ID: "b", Age: at(2), Class: "SHELL|gpu|1"},
				plan.Head{ID: "c", Age: at(3), Class: "SHELL||8"},
				plan.Head{ID: "d", Age: at(4), Class: shell},
			)},
			loads: map[plan.Load]int{{"", shell}: 16},
			ants:  []plan.Ant{{ID: "a", Methods: []string{"SHELL"}, Slots: 2, Used: 1}},
			gates: []string{
				"4  DOCKER||1: method DOCKER: the only ant does not offer it",
				"4  SHELL|gpu|1: method SHELL with tags [gpu]: the only ant that offers SHELL does not own gpu",
				"3  SHELL||1: method SHELL: 1 of 2 slots is taken and 16 requests before it wait for one",
				"4  SHELL||8: method SHELL and 8 slots: 1 ant that matches has 2 slots",
			},
		},
		{
			name: "what goes on needs no ant for its first task",
			types: []plan.Type{queue("x",
				plan.Head{ID: "a", Age: at(1), Class: "DOCKER||1", Resumed: true},
				plan.Head{ID: "b", Age: at(2), Class: "DOCKER||1"},
			)},
			ants: twoAnts, admit: "a",
			gates: []string{"4  DOCKER||1: method DOCKER: none of 2 ants offers it"},
		},
		{
			name:  "requests without a known first task do not wait for slots",
			types: []plan.Type{queue("x", plan.Head{ID: "a"}, plan.Head{ID: "b"})},
			loads: map[plan.Load]int{{"", ""}: 15},
			admit: "a",
			gates: []string{"3 : 16 requests before it are being launched"},
		},
		{
			name: "what may hide behind cut heads is looked at before what is worse",
			types: []plan.Type{
				with(queue("x", head("a", 5, 1), head("b", 5, 2)), func(t *plan.Type) { t.Pending = 9 }),
				queue("y", head("c", 1, 1)),
			},
			ants: twoAnts, admit: "a b", more: true,
		},
		{
			name: "cut heads of a type that is held hide nothing",
			types: []plan.Type{
				with(queue("x", head("a", 5, 1)), func(t *plan.Type) { t.Pending, t.MaxConcurrency = 9, 1 }),
				queue("y", head("c", 1, 1)),
			},
			ants: twoAnts, admit: "a c",
			gates: []string{"2 x: job type x may run 1 request at once and 1 does: a"},
		},
		{
			name:  "all seen are held, there are more",
			types: []plan.Type{with(queue("x", plan.Head{ID: "a", Class: "DOCKER||1"}), func(t *plan.Type) { t.Pending = 2 })},
			ants:  twoAnts, blind: true,
			gates: []string{"4  DOCKER||1: method DOCKER: none of 2 ants offers it"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := plan.Plan(plan.Snapshot{Types: c.types, Loads: c.loads, Fleet: plan.NewFleet(c.ants)}, epoch)
			if got := strings.Join(d.Admit, " "); got != c.admit {
				t.Errorf("admitted %q, want %q", got, c.admit)
			}
			var gates []string
			for _, g := range d.Gates {
				gates = append(gates, fmt.Sprintf("%d %s %s: %s", g.Kind, g.JobType, g.Class, g.Reason))
			}
			for i := range gates {
				gates[i] = strings.Replace(gates[i], " : ", ": ", 1)
			}
			if !slices.Equal(gates, c.gates) {
				t.Errorf("gates\n%s\nwant\n%s", strings.Join(gates, "\n"), strings.Join(c.gates, "\n"))
			}
			if d.More != c.more || (len(d.Blind) > 0) != c.blind {
				t.Errorf("more %v, blind %v; want %v, %v", d.More, d.Blind, c.more, c.blind)
			}
			if waits := len(c.gates) > 0 || c.more; d.Waiting != waits {
				t.Errorf("waiting %v, want %v", d.Waiting, waits)
			}
		})
	}
}

func TestWake(t *testing.T) {
	for _, c := range []struct {
		due  time.Time
		want time.Duration
	}{{time.Time{}, 0}, {at(3), 3 * time.Second}, {at(-3), time.Millisecond}} {
		d := plan.Plan(plan.Snapshot{Fleet: plan.NewFleet(nil), NextDue: c.due}, epoch)
		if d.Wake != c.want {
			t.Errorf("due %s: wake in %s, want %s", c.due, d.Wake, c.want)
		}
	}
}

// world is a random snapshot together with what is true behind it.
func world(r *rapid.T) plan.Snapshot {
	classes := []string{shell, "SHELL|gpu|1", "SHELL|linux|2", "HTTP_GET||1", "DOCKER||1", "HTTP_GET||1;SHELL||1", "?"}
	s := plan.Snapshot{Loads: map[plan.Load]int{}}
	var ants []plan.Ant
	for i := range rapid.IntRange(0, 4).Draw(r, "ants") {
		slots := rapid.IntRange(1, 12).Draw(r, "slots")
		ants = append(ants, plan.Ant{
			ID:      fmt.Sprintf("ant%d", i),
			Methods: rapid.SliceOfDistinct(rapid.SampledFrom([]string{"SHELL", "HTTP_GET"}), rapid.ID[string]).Draw(r, "methods"),
			Tags:    rapid.SliceOfDistinct(rapid.SampledFrom([]string{"gpu", "linux"}), rapid.ID[string]).Draw(r, "tags"),
			Slots:   slots, Used: rapid.IntRange(0, slots).Draw(r, "used"),
		})
	}
	s.Fleet = plan.NewFleet(ants)
	for _, c := range classes {
		s.Loads[plan.Load{Class: c}] = rapid.IntRange(0, 30).Draw(r, "load")
	}
	for i := range rapid.IntRange(0, 6).Draw(r, "types") {
		t := plan.Type{
			Org: "o", Name: fmt.Sprintf("t%d", i), MaxConcurrency: rapid.IntRange(0, 4).Draw(r, "max"),
			Active: rapid.IntRange(0, 5).Draw(r, "active"), Disabled: rapid.IntRange(0, 9).Draw(r, "disabled") == 0,
		}
		for j := range rapid.IntRange(0, 20).Draw(r, "heads") {
			t.Heads = append(t.Heads, plan.Head{
				ID: fmt.Sprintf("t%d-%02d", i, j), Priority: rapid.IntRange(0, 3).Draw(r, "priority"),
				Age: at(rapid.IntRange(0, 50).Draw(r, "age")), Class: rapid.SampledFrom(classes).Draw(r, "class"),
			})
		}
		slices.SortFunc(t.Heads, func(a, b plan.Head) int {
			if plan.Before(&a, &b) {
				return -1
			}
			return 1
		})
		t.Pending = len(t.Heads) + rapid.SampledFrom([]int{0, 0, 7}).Draw(r, "hidden")
		s.Types = append(s.Types, t)
	}
	return s
}

// An organisation with ants of its own does not wait for requests that these never take, and others do not see them.
func TestAntsOfAnOrganisation(t *testing.T) {
	const class = "SHELL||1"
	of := func(org string) plan.Type {
		return plan.Type{Org: org, Name: "t", Heads: []plan.Head{{ID: org, Class: class}}, Pending: 1}
	}
	ants := []plan.Ant{{ID: "a", Org: "a", Methods: []string{"SHELL"}, Slots: 1}}
	stuck := map[plan.Load]int{{Org: "b", Class: class}: 16}
	d := plan.Plan(plan.Snapshot{Types: []plan.Type{of("a"), of("b")}, Loads: stuck, Fleet: plan.NewFleet(ants)}, epoch)
	if !slices.Equal(d.Admit, []string{"a"}) || len(d.Gates) != 1 || d.Gates[0].Org != "b" ||
		d.Gates[0].Reason != "method SHELL: no ant offers it to this organisation" {
		t.Errorf("%+v", d)
	}
	ants = append(ants, plan.Ant{ID: "shared", Methods: []string{"SHELL"}, Slots: 1})
	d = plan.Plan(plan.Snapshot{Types: []plan.Type{of("a"), of("b"), of("c")}, Loads: stuck, Fleet: plan.NewFleet(ants)}, epoch)
	if !slices.Equal(d.Admit, []string{"a"}) || len(d.Gates) != 2 || d.Gates[0].Kind != plan.Capacity || d.Gates[1].Org != "c" {
		t.Errorf("with a shared ant: %+v", d)
	}
}

// TestQuotaOfAnOrganisation: it runs no more than its quota allows, over all its job types, and the reason says so; others go on.
func TestQuotaOfAnOrganisation(t *testing.T) {
	of := func(org, name string, pending int) plan.Type {
		heads := []plan.Head{{ID: org + name + "1", Class: shell}, {ID: org + name + "2", Class: shell}}
		return plan.Type{Org: org, Name: name, Heads: heads, Pending: pending}
	}
	s := plan.Snapshot{
		Types: []plan.Type{of("a", "x", 2), of("a", "y", 2), of("b", "x", 2)}, Fleet: plan.NewFleet(twoAnts),
		Quotas: map[string]plan.Quota{"a": {Most: 4, Running: 1}},
	}
	d := plan.Plan(s, epoch)
	want := "organisation a may run 4 requests at once and 4 do (its quota running; a platform-admin can raise it)"
	if !slices.Equal(d.Admit, []string{"ax1", "ax2", "ay1", "bx1", "bx2"}) || len(d.Gates) != 1 || d.Gates[0].Kind != plan.OrgQuota ||
		d.Gates[0].Org != "a" || d.Gates[0].JobType != "y" || d.Gates[0].Reason != want {
		t.Errorf("%+v", d)
	}
	s.Quotas["a"] = plan.Quota{}
	s.Types[0].Pending = 9 // nothing that hides behind its heads may run either
	if d = plan.Plan(s, epoch); !slices.Equal(d.Admit, []string{"bx1", "bx2"}) || len(d.Gates) != 2 || d.More || !d.Waiting {
		t.Errorf("a quota of none: %+v", d)
	}
}

func TestPlanKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := world(r)
		d := plan.Plan(s, epoch)
		admitted := map[string]bool{}
		for _, id := range d.Admit {
			if admitted[id] {
				r.Fatalf("%s admitted twice", id)
			}
			admitted[id] = true
		}
		gates := map[string]plan.Gate{}
		for _, g := range d.Gates {
			if g.Reason == "" || g.Kind == 0 {
				r.Fatalf("gate without reason: %+v", g)
			}
			gates[g.JobType+"/"+g.Class] = g
		}
		var seen []plan.Head
		byID := map[string]plan.Head{}
		for _, q := range s.Types {
			n := 0
			for _, h := range q.Heads {
				byID[h.ID] = h
				if admitted[h.ID] {
					n++
				}
			}
			if q.Disabled && n > 0 {
				r.Fatalf("%s is disabled and %d were admitted", q.Name, n)
			}
			if q.MaxConcurrency > 0 && n > max(0, q.MaxConcurrency-q.Active) {
				r.Fatalf("%s: %d active, %d admitted, at most %d", q.Name, q.Active, n, q.MaxConcurrency)
			}
			held := gates[q.Name+"/"].Kind != 0
			for _, h := range q.Heads {
				if !admitted[h.ID] && !held && gates["/"+h.Class].Kind == 0 && !d.More {
					r.Fatalf("%s waits for nothing", h.ID)
				}
				if !held {
					seen = append(seen, h)
				}
			}
		}
		// Within a class, of job types that are not held, no worse one goes before a better one.
		for _, a := range seen {
			for _, b := range seen {
				if a.Class == b.Class && admitted[b.ID] && !admitted[a.ID] && plan.Before(&a, &b) {
					r.Fatalf("%s went before the better %s", b.ID, a.ID)
				}
			}
		}
		if !slices.IsSortedFunc(d.Admit, func(a, b string) int {
			x, y := byID[a], byID[b]
			if plan.Before(&x, &y) {
				return -1
			}
			return 1
		}) {
			r.Fatalf("not in order: %v", d.Admit)
		}
		shuffled := s
		shuffled.Types = rapid.Permutation(s.Types).Draw(r, "shuffled")
		if again := plan.Plan(shuffled, epoch); !reflect.DeepEqual(again, d) {
			r.Fatalf("another order of types gives another plan:\n%+v\n%+v", d, again)
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	s := plan.Snapshot{Fleet: plan.NewFleet([]plan.Ant{{ID: "a", Methods: []string{"SHELL"}, Slots: 100_000}})}
	for i := range 1000 {
		s.Types = append(s.Types, queue(fmt.Sprintf("t%d", i), heads(fmt.Sprintf("t%d-", i), 64)...))
	}
	for b.Loop() {
		plan.Plan(s, epoch)
	}
}
