package jobspec

import (
	"strings"
	"testing"
)

func TestSubjects(t *testing.T) {
	for text, want := range map[string]bool{
		"orders.new": true, "a": true, "a-b_c.D1": true, "": false, "a.*": false, "a.>": false, "a b": false, ".a": false, "a.": false, "a..b": false,
		"formicary.x": false, "Formicary.x": false, "formicary": false, "formicaryx.y": true, "$SYS.x": false, "$JS.API": false, "_INBOX.x": false, "a\nb": false,
		strings.Repeat("x", 256): false,
	} {
		if got := validSubject(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestRanges(t *testing.T) {
	for text, want := range map[string]bool{
		"3": true, "1.2": true, "v1.2.3-rc1": true, "^1.2": true, "~1": true, ">=1.2 <2": true, ">= 1.2, < 3": true, "1.x": true, "*": true, "1 || 2": true, "1.0 - 2.0": true,
		"latest": false, "^": false, "1.2;rm": false, "$(x)": false,
	} {
		if got := validRange(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestItemNames(t *testing.T) {
	used := map[string]bool{}
	for i, c := range []struct {
		label []any
		want  string
	}{
		{nil, "t[0]"},
		{[]any{"linux", 1.26}, "t[linux,1.26]"},
		{[]any{"linux", "1.26"}, "t[2]"},
		{[]any{"a/b\nc"}, "t[a-b-c]"},
		{[]any{strings.Repeat("x", 200)}, "t[4]"},
		{[]any{map[string]any{}}, "t[5]"},
		{[]any{int64(7)}, "t[7]"},
		{nil, "t[#7]"},
	} {
		if got := itemName("t", c.label, i, used); got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
}
