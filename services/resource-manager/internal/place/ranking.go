package place

import (
	"cmp"
	"container/heap"
	"strings"
)

// rank is an ant with what was free when it was last looked at. Other classes may have taken from it since, so free is
// never too low.
type rank struct {
	ant  *Ant
	free int
}

// ranking is a heap of the ants of a class, best first.
type ranking []rank

// first returns the best ant. Those that lost slots since they were ranked sink first; slots only get fewer, so the
// first that is ranked right is the best of all.
func (r *ranking) first() *Ant {
	for len(*r) > 0 {
		top := &(*r)[0]
		if top.free == top.ant.free() {
			return top.ant
		}
		top.free = top.ant.free()
		heap.Fix(r, 0)
	}
	return nil
}

func (r ranking) Len() int      { return len(r) }
func (r ranking) Swap(i, j int) { r[i], r[j] = r[j], r[i] }

// Less orders by free slots, then load (used/slots, compared without division), then id.
func (r ranking) Less(i, j int) bool {
	a, b := r[i], r[j]
	if a.free != b.free {
		return a.free > b.free
	}
	return cmp.Or(cmp.Compare((a.ant.Slots-a.free)*b.ant.Slots, (b.ant.Slots-b.free)*a.ant.Slots), strings.Compare(a.ant.ID, b.ant.ID)) < 0
}

func (r *ranking) Push(x any) { *r = append(*r, x.(rank)) }
func (r *ranking) Pop() any {
	old := *r
	last := old[len(old)-1]
	*r = old[:len(old)-1]
	return last
}
