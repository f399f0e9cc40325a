package placement_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/placement"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]placement.Class{
		"SHELL||1":         {Method: "SHELL", Slots: 1},
		"SHELL|":           {Method: "SHELL", Slots: 1},
		"SHELL||0":         {Method: "SHELL", Slots: 1},
		"DOCKER|gpu,x64|4": {Method: "DOCKER", Tags: []string{"gpu", "x64"}, Slots: 4},
	} {
		got, err := placement.Parse(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"", "SHELL", "|a|1", "SHELL||x", "SHELL||-1", "SHELL||1|2"} {
		if c, err := placement.Parse(text); err == nil {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][2]string{
		"org|SHELL|a,b|1": {"org", "SHELL|a,b|1"},
		"|SHELL||1":       {"", "SHELL||1"},
		"a|b|SHELL||1":    {"a|b", "SHELL||1"},
		"SHELL||1":        {"SHELL||1", ""},
		"":                {"", ""},
	} {
		if org, class := placement.Split(text); org != want[0] || class != want[1] {
			t.Errorf("%q: %q %q", text, org, class)
		}
	}
}

func TestSentences(t *testing.T) {
	shell := placement.Class{Method: "SHELL", Slots: 1}
	gpu := placement.Class{Method: "SHELL", Tags: []string{"gpu"}, Slots: 2}
	tally := func(add ...[4]int) *placement.Tally {
		out := &placement.Tally{}
		for _, a := range add {
			out.Add(placement.Mismatch(a[0]), a[1], a[2], a[3])
		}
		return out
	}
	m := func(m placement.Mismatch, ants, slots, used int) [4]int { return [4]int{int(m), ants, slots, used} }
	for want, got := range map[string]string{
		"method SHELL: no ant is online":                                                       tally().Lack(shell),
		"method SHELL: the only ant does not offer it":                                         tally(m(placement.NoMethod, 1, 4, 0)).Lack(shell),
		"method SHELL: none of 3 ants offers it":                                               tally(m(placement.NoMethod, 3, 4, 0)).Lack(shell),
		"method SHELL with tags [gpu] and 2 slots: 2 ants offer SHELL, none owns gpu":          tally(m(placement.NoTag, 2, 4, 0), m(placement.NoMethod, 1, 4, 0)).Lack(gpu),
		"method SHELL with tags [gpu] and 2 slots: 1 ant that matches has 1 slot":              tally(m(placement.TooSmall, 1, 1, 0)).Lack(gpu),
		"method SHELL: 1 ant that matches is draining; 2 ants that match have at most 3 slots": tally(m(placement.Draining, 1, 4, 0), m(placement.TooSmall, 2, 3, 0)).Lack(shell),
		"method SHELL: 3 of 8 slots of 2 matching ants are taken":                              tally(m(placement.Fits, 2, 4, 3)).Taken(shell),
		"method SHELL: 1 of 1 slot of 1 matching ant is taken":                                 tally(m(placement.Fits, 1, 1, 1)).Taken(shell),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
