package audit

import (
	"errors"
	"iter"
	"slices"
	"testing"
)

func sequence(all []stored, err error) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
		if err != nil {
			yield(stored{}, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	a, b, c := stored{"a", 1}, stored{"b", 2}, stored{"c", 3}
	for _, tt := range []struct {
		rows, objects []stored
		want          []string
	}{
		{nil, nil, nil},
		{[]stored{a, b, c}, []stored{a, b, c}, nil},
		{[]stored{a, b, c}, []stored{b}, []string{"artifact_has_object", "artifact_has_object"}},
		{[]stored{b}, []stored{a, b, c}, []string{"object_has_artifact", "object_has_artifact"}},
		{[]stored{a, c}, []stored{b, c}, []string{"artifact_has_object", "object_has_artifact"}},
		{[]stored{a, b}, []stored{a, {"b", 1}}, []string{"artifact_is_whole"}},
		{[]stored{a}, nil, []string{"artifact_has_object"}},
		{nil, []stored{a}, []string{"object_has_artifact"}},
	} {
		found, err := differences(sequence(tt.rows, nil), sequence(tt.objects, nil))
		var got []string
		for _, d := range found {
			got = append(got, d.violation().Check)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%v and %v: %v, want %v; %v", tt.rows, tt.objects, got, tt.want, err)
		}
	}
	away := errors.New("away")
	if _, err := differences(sequence([]stored{a}, away), sequence([]stored{a}, nil)); !errors.Is(err, away) {
		t.Error(err)
	}
	if _, err := differences(sequence([]stored{a}, nil), sequence(nil, away)); !errors.Is(err, away) {
		t.Error(err)
	}
}
