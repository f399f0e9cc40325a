// Package examples holds definitions that show the language at work. Each runs as it is; the first line of a file says
// what for. A test runs them all through a colony.
package examples

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Example is a definition to begin with.
type Example struct {
	// Name is its job_type.
	Name string
	// Category is Start, CI/CD, ETL, Batch or Infrastructure.
	Category string
	// Title says in one sentence what it shows.
	Title string
	// Text of the definition.
	Text string
	// Run says how to run it where its file alone is not enough: a command, or what to do before.
	Run string
}

// List returns all examples by category and name.
func List() ([]Example, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list the examples: %w", err)
	}
	list := make([]Example, 0, len(entries))
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the example %s: %w", e.Name(), err)
		}
		first, rest, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		run := ""
		if after, ok := strings.CutPrefix(rest, "# Run: "); ok {
			run, _, _ = strings.Cut(after, "\n")
		}
		category, title, _ := strings.Cut(first, ": ")
		list = append(list, Example{Name: strings.TrimSuffix(e.Name(), ".yaml"), Category: category, Title: title, Text: string(text), Run: run})
	}
	order := []string{"Start", "CI/CD", "ETL", "Batch", "Infrastructure"}
	slices.SortStableFunc(list, func(a, b Example) int {
		return slices.Index(order, a.Category) - slices.Index(order, b.Category)
	})
	return list, nil
}

// Whole returns the text of an example with the examples that it forks behind it, each as a document of its own.
func (e Example) Whole() (string, error) {
	list, err := List()
	if err != nil {
		return "", err
	}
	text := []string{e.Text}
	for _, child := range list {
		if child.Name != e.Name && strings.Contains(e.Text, "fork_job_type: "+child.Name+"\n") {
			text = append(text, child.Text)
		}
	}
	return strings.Join(text, "---\n"), nil
}

// Find returns an example by its name.
func Find(name string) (Example, bool, error) {
	list, err := List()
	if err != nil {
		return Example{}, false, err
	}
	i := slices.IndexFunc(list, func(e Example) bool { return e.Name == name })
	if i < 0 {
		return Example{}, false, nil
	}
	return list[i], true, nil
}
