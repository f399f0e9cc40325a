package value_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestCanon(t *testing.T) {
	for _, c := range []struct{ in, want any }{
		{nil, nil},
		{"a", "a"},
		{true, true},
		{7, int64(7)},
		{int8(-7), int64(-7)},
		{uint32(7), int64(7)},
		{float32(0.5), 0.5},
		{uint64(math.MaxUint64), json.Number("18446744073709551615")},
		{json.Number("9007199254740993"), int64(9007199254740993)},
		{json.Number("1.50"), 1.5},
		{[]string{"a"}, []any{"a"}},
		{map[string]string{"a": "b"}, map[string]any{"a": "b"}},
		{value.Vars{"a": 1}, map[string]any{"a": 1}},
	} {
		if got, ok := value.Canon(c.in); !ok || !cmp.Equal(got, c.want) {
			t.Errorf("%T %v is %T %v, %v; want %T %v", c.in, c.in, got, got, ok, c.want, c.want)
		}
	}
	for _, v := range []any{struct{}{}, func() {}, []int{1}, new(1)} {
		if got, ok := value.Canon(v); ok {
			t.Errorf("%T is %v", v, got)
		}
	}
}

func TestDeepCanon(t *testing.T) {
	got, ok := value.DeepCanon(map[string]any{"a": []any{1, []string{"x"}}}, 0)
	if want := map[string]any{"a": []any{int64(1), []any{"x"}}}; !ok || !cmp.Equal(got, any(want)) {
		t.Errorf("%v, %v", got, ok)
	}
	deep := any("x")
	for range 10_000 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{"too deep": deep, "a strange one in a list": []any{struct{}{}}, "in a map": map[string]any{"a": struct{}{}}} {
		if _, ok := value.DeepCanon(v, 0); ok {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		in         any
		text, json string
	}{
		{nil, "", "null"},
		{"a\"b", `a"b`, `"a\"b"`},
		{true, "true", "true"},
		{int64(1) << 60, "1152921504606846976", "1152921504606846976"},
		{json.Number("123456789012345678901"), "123456789012345678901", "123456789012345678901"},
		{1e20, "100000000000000000000", "100000000000000000000"},
		{1e21, "1e+21", "1e+21"},
		{0.1, "0.1", "0.1"},
		{[]any{"a", int64(1)}, `["a",1]`, `["a",1]`},
		{map[string]any{"k": nil}, `{"k":null}`, `{"k":null}`},
	} {
		if text, raw := value.Text(c.in), value.JSON(c.in); text != c.text || raw != c.json {
			t.Errorf("%v: %s and %s, want %s and %s", c.in, text, raw, c.text, c.json)
		}
	}
}

func TestSame(t *testing.T) {
	big := int64(1)<<53 + 1
	for _, c := range []struct {
		a, b any
		want bool
	}{
		{nil, nil, true},
		{nil, "", false},
		{"a", "a", true},
		{"1", 1, false},
		{true, "true", false},
		{1, 1.0, true},
		{1.0, uint8(1), true},
		{big, float64(big), false},
		{int64(math.MaxInt64), float64(math.MaxInt64), false},
		{json.Number("1e400"), json.Number("10e399"), true},
		{json.Number("1e400"), math.Inf(1), false},
		{[]any{1, "a"}, []any{1.0, "a"}, true},
		{[]any{1}, []any{1, 2}, false},
		{[]string{"a"}, []any{"a"}, true},
		{map[string]any{"a": 1}, map[string]any{"a": 1.0}, true},
		{map[string]any{"a": nil}, map[string]any{"b": nil}, false},
	} {
		if value.Same(c.a, c.b) != c.want || value.Same(c.b, c.a) != c.want {
			t.Errorf("%v and %v: want %v", c.a, c.b, c.want)
		}
	}
}

func TestSizeStopsCounting(t *testing.T) {
	for _, v := range []any{"abc", []any{"a", int64(1)}, map[string]any{"key": []any{"x", nil}}} {
		if got, least := value.Size(v, 1000), len(value.JSON(v)); got < least || got > least+20 {
			t.Errorf("%v: %d, its JSON has %d", v, got, least)
		}
	}
	many := make([]any, 1<<20)
	if got := value.Size(many, 100); got < 100 || got > 200 {
		t.Errorf("counted up to %d", got)
	}
}

func TestStorable(t *testing.T) {
	for v, want := range map[any]bool{"a\x00": false, "\xff": false, "ä": true} {
		for _, in := range []any{v, []any{"a", v}, map[string]any{"k": v}, map[string]any{v.(string): 1}} {
			if value.Storable(in) != want {
				t.Errorf("%q: want %v", in, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string][2]bool{
		"a": {true, true}, "A_1": {true, true}, "1a": {true, false}, "a-b": {true, false}, "": {false, false}, "a b": {false, false}, "a=b": {false, false},
		"a\x00": {false, false}, "a\x7f": {false, false}, "ä": {true, false}, strings.Repeat("a", value.MaxName+1): {false, true},
	} {
		if got := [2]bool{value.ValidName(name), value.IsEnvName(name)}; got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestMerged(t *testing.T) {
	low, high := value.Vars{"a": 1, "b": 1}, value.Vars{"b": 2}
	if got := value.Merged(low, nil, high); !cmp.Equal(got, value.Vars{"a": 1, "b": 2}) || low["b"] != 1 {
		t.Errorf("%v, and the lower layer is %v", got, low)
	}
}

func TestVarsKeepTheirDigits(t *testing.T) {
	var v value.Vars
	if err := json.Unmarshal([]byte(`{"i": 9007199254740993, "big": 123456789012345678901, "f": 1.5}`), &v); err != nil {
		t.Fatal(err)
	}
	want := value.Vars{"i": int64(9007199254740993), "big": json.Number("123456789012345678901"), "f": 1.5}
	if !cmp.Equal(v, want) {
		t.Errorf("%v, want %v", v, want)
	}
}
