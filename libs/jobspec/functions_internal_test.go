package jobspec

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestEveryFunctionIsUsed holds the definition with everything against the list of functions.
func TestEveryFunctionIsUsed(t *testing.T) {
	text, err := os.ReadFile("testdata/every_field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`\w+`).FindAllString(string(text), -1)
	for _, name := range functionNames() {
		if !slices.Contains(words, name) {
			t.Errorf("the function %s is not used", name)
		}
	}
}
