// Package plan decides which pending requests start now, in which order, and what holds the others.
//
// It is one pure function over a snapshot of bounded size: per job type the best few pending requests (its heads) and
// what is active, per placement class how many admitted requests have not started, and the ants. Requests are looked
// at by priority, then age, over all job types; each passes the gates of its job type (disabled, concurrency) and of
// its placement class (no ant, capacity) or is held by the first that is closed. A closed gate of a type or class
// keeps no other type or class from going on. Requests whose time has not come are not in the snapshot.
//
// Heads are merged with a heap, classes are looked up once: n heads of t types cost n·log t.
package plan

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"
)

// Head is one of the best pending requests of a job type.
type Head struct {
	ID       string
	Priority int       // higher first
	Age      time.Time // then older first
	Class    string    // placement classes of its first tasks
	Resumed  bool      // it goes on with a run that has begun: its first tasks may be done
}

// Type is a job type with pending requests.
type Type struct {
	Org            string
	Name           string
	MaxConcurrency int // 0 means no limit
	Active         int
	Holders        []string // some ids of what is active
	Disabled       bool
	Heads          []Head // best first
	Pending        int    // more than the heads when those were cut
}

// Snapshot is what a plan looks at.
type Snapshot struct {
	Types   []Type
	Loads   map[Load]int // admitted and not started
	Fleet   *Fleet
	NextDue time.Time        // of what is scheduled later; zero when nothing is
	Quotas  map[string]Quota // of the organisations that have one
}

// Quota is how many requests an organisation may run at once, and how many it does.
type Quota struct{ Most, Running int }

// Load names requests that are counted together: those of a placement class in an organisation.
type Load struct{ Org, Class string }

// Decision is a plan.
type Decision struct {
	// Admit are the requests to start, best first.
	Admit []string
	// Gates are closed, each named once, in a fixed order.
	Gates []Gate
	// More says that better requests than those left may be hidden behind cut heads: plan again at once.
	More bool
	// Blind are the job types of which all heads are held, with the last of those: others behind it were not seen.
	Blind []Place
	// Waiting says that something due was not admitted.
	Waiting bool
	// Wake is the time until the next scheduled request is due; 0 when none is.
	Wake time.Duration
}

// Place is one in the queue of a job type.
type Place struct {
	Org, Type string
	Head      Head
}

// MaxAdmit and MaxGates bound one decision.
const (
	MaxAdmit = 10_000
	MaxGates = 10_000
)

// Plan decides. now is of the clock that NextDue was read from. The result depends on nothing but the arguments, and
// not on the order of the types.
func Plan(s Snapshot, now time.Time) Decision {
	p := planner{fleet: s.Fleet, quotas: s.Quotas, taken: map[string]int{}, loads: make(map[Load]int, len(s.Loads)), gates: map[gateKey]Gate{}}
	for of, n := range s.Loads {
		p.loads[p.load(of.Org, of.Class)] += n
	}
	p.d.Wake = schedule(s.NextDue, now)
	for i := range s.Types {
		p.enter(&s.Types[i])
	}
	heap.Init(&p.queues)
	for len(p.queues) > 0 && !p.d.More {
		p.step()
	}
	p.d.Gates = p.sorted()
	return p.d
}

type gateKey struct{ org, jobType, class string }

type planner struct {
	fleet  *Fleet
	loads  map[Load]int // by the organisation where that has ants of its own
	queues queues
	quotas map[string]Quota
	taken  map[string]int // admitted, of organisations
	gates  map[gateKey]Gate
	d      Decision
}

// enter puts a type into the merge unless it is held as a whole.
func (p *planner) enter(t *Type) {
	if g, closed := disabled(t); closed && len(t.Heads) > 0 {
		p.hold(g)
		return
	}
	if len(t.Heads) > 0 {
		p.queues = append(p.queues, &queue{t: t})
	}
}

// step takes the best head that is left.
func (p *planner) step() {
	q := p.queues[0]
	if g, closed := p.full(q); closed {
		p.hold(g) // all that is left of the type
		heap.Pop(&p.queues)
		return
	}
	head := q.head()
	free := p.open(q.t.Org, head)
	if free {
		p.d.Admit = append(p.d.Admit, head.ID)
		q.admitted = append(q.admitted, head.ID)
		p.taken[q.t.Org]++
		p.loads[p.load(q.t.Org, head.Class)]++
	}
	q.next++
	if q.next < len(q.t.Heads) {
		heap.Fix(&p.queues, 0)
	} else {
		heap.Pop(&p.queues)
		p.leave(q, free)
	}
	p.d.More = p.d.More || len(p.d.Admit) >= MaxAdmit
	p.d.Waiting = p.d.Waiting || p.d.More
}

// full says that no further request of the queue may run now, whatever it needs.
func (p *planner) full(q *queue) (Gate, bool) {
	if g, closed := concurrency(q.t, q.admitted); closed {
		return g, true
	}
	if bound, ok := p.quotas[q.t.Org]; ok {
		return quota(q.t, bound, p.taken[q.t.Org])
	}
	return Gate{}, false
}

// load is what requests are counted under. Organisations that share all their ants wait for each other; one that has some
// of its own must not wait for requests which these never take.
func (p *planner) load(org, class string) Load {
	if p.fleet.owners[org] == 0 {
		org = ""
	}
	return Load{org, class}
}

// leave ends a queue whose heads have all been looked at; behind cut ones there are more.
func (p *planner) leave(q *queue, lastAdmitted bool) {
	if q.t.Pending <= len(q.t.Heads) {
		return
	}
	p.d.Waiting = true
	g, closed := p.full(q)
	switch {
	case closed:
		p.hold(g)
	case lastAdmitted:
		p.d.More = true // what follows in other queues may be worse than what is hidden in this one
	case len(q.admitted) == 0:
		p.d.Blind = append(p.d.Blind, Place{Org: q.t.Org, Type: q.t.Name, Head: q.t.Heads[len(q.t.Heads)-1]})
	}
}

// open says whether the class of a request lets it start, and notes the gate when it does not.
func (p *planner) open(org string, h *Head) bool {
	f := p.fleet.fit(org, h.Class)
	g, closed := noAnt(org, h.Class, f)
	if !closed || h.Resumed {
		if g, closed = capacity(org, h.Class, f, p.loads[p.load(org, h.Class)]); !closed {
			return true
		}
	}
	p.hold(g)
	return false
}

func (p *planner) hold(g Gate) {
	p.d.Waiting = true
	k := gateKey{g.Org, g.JobType, g.Class}
	if _, known := p.gates[k]; !known {
		p.gates[k] = g
	}
}

func (p *planner) sorted() []Gate {
	gates := make([]Gate, 0, len(p.gates))
	for _, g := range p.gates {
		gates = append(gates, g)
	}
	slices.SortFunc(gates, func(a, b Gate) int {
		return cmp.Or(strings.Compare(a.Org, b.Org), strings.Compare(a.JobType, b.JobType), strings.Compare(a.Class, b.Class))
	})
	return gates[:min(len(gates), MaxGates)]
}

// queue is a job type in the merge.
type queue struct {
	t        *Type
	next     int // head to look at
	admitted []string
}

func (q *queue) head() *Head { return &q.t.Heads[q.next] }

// queues is a heap by the best head.
type queues []*queue

func (h queues) Len() int      { return len(h) }
func (h queues) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h queues) Less(i, j int) bool {
	return Before(h[i].head(), h[j].head())
}
func (h *queues) Push(x any) { *h = append(*h, x.(*queue)) }
func (h *queues) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// Before is the order of requests: priority, then age, then id.
func Before(a, b *Head) bool {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Age.Compare(b.Age), strings.Compare(a.ID, b.ID)) < 0
}
