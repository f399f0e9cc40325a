package fanout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMatrixEqualsTheModel compares combine with a plain reading of the rules, for many small matrices.
func TestMatrixEqualsTheModel(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		axes := make([]axis, r.IntN(4))
		for i := range axes {
			axes[i] = axis{name: string(rune('a' + i)), values: randomValues(r, r.IntN(4))}
		}
		include, exclude := randomEntries(r, 5), randomEntries(r, 3)
		got, names := combine(axes, include, exclude)
		want := model(axes, include, exclude)
		if diff := cmp.Diff(shownItems(want), shownItems(got)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if len(names) != len(got) {
			t.Fatalf("seed %d: %d names for %d items", seed, len(names), len(got))
		}
	}
}

func randomValues(r *rand.Rand, n int) []any {
	out := []any{}
	for i := range n {
		out = append(out, int64(i*10+r.IntN(3)))
	}
	return out
}

func randomEntries(r *rand.Rand, most int) []map[string]any {
	var out []map[string]any
	for range r.IntN(most + 1) {
		m := map[string]any{}
		for range 1 + r.IntN(3) {
			m[string(rune('a'+r.IntN(5)))] = int64(r.IntN(3)*10 + r.IntN(3))
		}
		out = append(out, m)
	}
	return out
}

// model: the product; what matches an exclusion goes; then the entries in their order.
func model(axes []axis, include, exclude []map[string]any) []map[string]any {
	type combination struct{ axis, all map[string]any }
	list := []combination{}
	total := 1
	for _, a := range axes {
		total *= len(a.values)
	}
	if len(axes) == 0 {
		total = 0
	}
	for n := range total {
		c := map[string]any{}
		rest := n
		for _, axis := range slices.Backward(axes) {
			c[axis.name] = axis.values[rest%len(axis.values)]
			rest /= len(axis.values)
		}
		gone := false
		for _, e := range exclude {
			same := true
			for k, v := range e {
				same = same && c[k] == v
			}
			gone = gone || same
		}
		if !gone {
			list = append(list, combination{c, maps.Clone(c)})
		}
	}
	originals := len(list)
	for _, e := range include {
		extended := false
		for i := range originals {
			changes := false
			for k, v := range e {
				if own, ok := list[i].axis[k]; ok && own != v {
					changes = true
				}
			}
			if !changes {
				extended = true
				maps.Copy(list[i].all, e)
			}
		}
		if !extended {
			list = append(list, combination{e, e})
		}
	}
	out := make([]map[string]any, len(list))
	for i := range list {
		out[i] = list[i].all
	}
	return out
}

func shownItems(items []map[string]any) []string {
	out := make([]string, len(items))
	for i, m := range items {
		var parts []string
		for k, v := range m {
			parts = append(parts, fmt.Sprint(k, "=", v))
		}
		slices.Sort(parts)
		out[i] = strings.Join(parts, " ")
	}
	return out
}
