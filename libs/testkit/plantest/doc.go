// Package plantest finds the statements whose cost grows with the history of a service.
//
// It reads the statements out of the source, prepares each against a database that holds a history, and judges the
// generic plan, which is the one that production uses: a table that grows may be reached by an index condition that
// names little of it, by an index that holds only what is live, or in the order of an index under a LIMIT. Everything
// else reads more from day to day, and the tests of an empty database never notice.
package plantest

import "testing"

// Case is what a service says of its schema.
type Case struct {
	// Folders hold the Go source with the statements, relative to the test. Every string constant in them that begins
	// like a statement is one.
	Folders []string
	// Skip names files of the folders whose statements are given in Also instead, or are nobody's.
	Skip []string
	// Grows are the tables that nothing empties while the service runs; the fill has put rows into all of them.
	Grows []string
	// Bounded are the other tables, each with what bounds it. A table of the schema that is in neither fails the test.
	Bounded map[string]string
	// Also are statements that are put together at run time, by name.
	Also map[string]string
	// Ran are statements that Record has seen; a statement whose source is only the beginning of it must be among them.
	Ran *Recorder
	// Allowed are statements that may read what grows: a part of the text, and why.
	Allowed map[string]string
}

// limit is the planner's cost of one visit to a table that grows: ten rows found by a key cost about a hundred, the pairs of
// ten by ten values less than three.
const limit = 300

// leastRows of a table that grows: with fewer the planner sees little difference between a part and the whole.
const leastRows = 2000

// Run judges every statement.
func Run(t *testing.T, pool Database, c Case) {
	t.Helper()
	schema, err := readSchema(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range schema.classify(c) {
		t.Error(fault)
	}
	all, err := find(c.Folders, c.Skip)
	if err != nil {
		t.Fatal(err)
	}
	for name, sql := range c.Also {
		all = append(all, statement{at: name, sql: sql})
	}
	for _, sql := range c.Ran.seen() {
		all = append(all, statement{at: "as it ran", sql: sql})
	}
	used := map[string]bool{}
	n := 0
	for _, s := range all {
		if s.open && c.Ran.began(s.sql) {
			continue
		}
		p, err := explain(t.Context(), pool, s.sql)
		switch {
		case err != nil && s.part: // it stands in others
			continue
		case err != nil && s.open:
			t.Errorf("%s: the statement is put together at run time: run it under Record or give it in Also: %v\n%s", s.at, err, s.sql)
			continue
		case err != nil:
			t.Errorf("%s: %v\n%s", s.at, err, s.sql)
			continue
		}
		n++
		why := schema.judge(p)
		if len(why) == 0 {
			continue
		}
		if part, ok := allowed(c.Allowed, s.sql); ok {
			used[part] = true
			continue
		}
		for _, w := range why {
			t.Errorf("%s: %s\n%s", s.at, w, s.sql)
		}
	}
	for part := range c.Allowed {
		if !used[part] {
			t.Errorf("no statement that reads what grows has %q any more: take it out of Allowed", part)
		}
	}
	t.Logf("%d statements were judged", n)
}
