package sqltest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

func TestWhatIsFound(t *testing.T) {
	for body, want := range map[string]int{
		`q("SELECT a FROM t WHERE x = $1", v)`:                0,
		`q("SELECT " + columns + " FROM t")`:                  0,
		`q("no such thing: " + v)`:                            0,
		`q("SELECT a FROM t WHERE x = '" + v + "'")`:          1,
		`q("SELECT a FROM t WHERE x = '" + f(v) + "'")`:       1,
		`q(columns + " FROM t ORDER BY " + v.by)`:             1,
		`q(fmt.Sprintf("SELECT a FROM t WHERE x = '%s'", v))`: 1,
		`q(fmt.Sprint("DELETE FROM t WHERE id = ", v))`:       1,
		`sql += " AND x = 1"`:                                 1,
		`q(strings.ReplaceAll("SELECT :x FROM t", ":x", v))`:  1,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nconst columns = `a, b`\nfunc g() { "+body+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(built(f.Decls[1], constantsOf([]*ast.File{f}))); got != want {
			t.Errorf("%s: found %d, want %d", body, got, want)
		}
	}
}

func TestNoValueComesIntoSQL(t *testing.T) {
	Check(t, "../..", map[string]string{
		"pgdb.Migrate":                "the name of a schema, which is a constant and quoted",
		"pgdb/cluster.EnsureDatabase": "the name of a database, which is configuration and quoted",
	})
}
