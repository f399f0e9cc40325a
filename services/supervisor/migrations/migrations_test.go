package migrations_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/formicary/formicary/services/supervisor/migrations"
)

var (
	comment = regexp.MustCompile(`(?m)--.*$`)
	index   = regexp.MustCompile(`(?is)CREATE\s+(?:UNIQUE\s+)?INDEX\s+(CONCURRENTLY\s+)?.*?\sON\s+(\w+)`)
	created = regexp.MustCompile(`(?i)CREATE TABLE\s+(\w+)`)
)

// To build an index within a transaction holds up every writer for as long as the whole table is read, and a large table
// is not read within the time that a statement may take: the service would not start.
func TestIndexesOfLargeTablesAreBuiltBesideTheWriters(t *testing.T) {
	large := map[string]bool{"execution": true, "task": true, "edge": true, "attempt": true, "child": true, "approval": true, "vote": true, "output": true}
	// The first steps made the tables, with little in them.
	files, err := fs.Glob(migrations.FS, "000[1-9]*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		raw, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			t.Fatal(err)
		}
		alone := strings.Contains(string(raw), "+goose NO TRANSACTION")
		sql := comment.ReplaceAllString(string(raw), "")
		own := map[string]bool{}
		for _, m := range created.FindAllStringSubmatch(sql, -1) {
			own[m[1]] = true
		}
		for statement := range strings.SplitSeq(sql, ";") {
			m := index.FindStringSubmatch(statement)
			if m == nil || own[m[2]] || !large[m[2]] {
				continue
			}
			if !alone || m[1] == "" {
				t.Errorf("%s holds up the writers of %s: %s", file, m[2], strings.TrimSpace(statement))
			}
		}
	}
}
