package place

import "github.com/formicary/formicary/libs/placement"

// Kinds are ants of one kind, counted.
type Kinds struct {
	Kind
	Ants int
	Used int // slots of all of them
}

// Fleet are all ants that are online, by kind.
type Fleet []Kinds

// Explain says why an ask was refused, by the ants that came nearest.
func (f Fleet) Explain(n placement.Need) Answer {
	var t placement.Tally
	for i := range f {
		t.Add(misfit(&f[i].Kind, n), f[i].Ants, f[i].Slots, f[i].Used)
	}
	if t.Ants[placement.Fits] > 0 {
		return Answer{Gate: Capacity, Reason: t.Taken(n.Class)}
	}
	return Answer{Gate: NoAnt, Reason: t.Lack(n.Class)}
}
