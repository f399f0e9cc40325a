package pgdb_test

import (
	"context"
	"testing"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
)

// BenchmarkOrg tells what it costs to say whose rows a connection may see: never, when it is the same as before, and when it is
// another one each time.
func BenchmarkOrg(b *testing.B) {
	dsn := testkit.Pool(b, "public", nothing).Config().ConnString()
	orgs := []string{"a", "b"}
	for _, c := range []struct {
		name string
		each int // calls of one organisation before the next
	}{{"the same", 1 << 62}, {"another one each time", 1}, {"another one each 10", 10}} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			pool, err := pgdb.Open(b.Context(), dsn, pgdb.Options{Name: "bench", MaxConns: 1, Org: func(context.Context) string { return orgs[n/c.each%2] }})
			if err != nil {
				b.Fatal(err)
			}
			defer pool.Close()
			for b.Loop() {
				n++
				if _, err := pool.Exec(b.Context(), "SELECT 1"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
