package storable_test

import (
	"testing"

	"github.com/formicary/formicary/libs/storable"
)

func TestText(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "é\n\u0007": "é\n\u0007", "a\x00b": "a\uFFFDb", "a\xff\xfeb": "a\uFFFDb", "\x00\xff": "\uFFFD\uFFFD",
	} {
		got := storable.Text(given)
		if got != want || !storable.Is(got) {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
		if storable.Is(given) != (given == want) {
			t.Errorf("%q can be stored: %v", given, storable.Is(given))
		}
	}
}
