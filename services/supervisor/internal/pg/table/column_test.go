package table_test

import (
	"testing"

	"github.com/formicary/formicary/services/supervisor/internal/pg/table"
)

type row struct {
	id, n int
	name  string
}

func TestStatementsAreMadeFromOneList(t *testing.T) {
	cs := table.Columns[*row]{
		table.Number("id", func(r *row) *int { return &r.id }),
		table.Text("name", func(r *row) *string { return &r.name }).First(),
		table.Of("extra", "json", func(*row) *string { return nil }, nil).Kept(),
		table.Number("n", func(r *row) *int { return &r.n }),
	}
	want := `UPDATE t t SET extra = coalesce(u.extra, t.extra), n = u.n FROM (SELECT unnest($1::int[]) AS id, unnest($2::text[])::json AS extra, unnest($3::int[]) AS n) u WHERE t.id = u.id`
	if got := cs.Update("t", 1); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := cs.Writes(true).Names("") + "; " + cs.Read("t."); got != "id, name, extra, n; t.id, t.name, t.n" {
		t.Error(got)
	}
	if args := cs.Writes(false).Args([]*row{{id: 1, n: 2}, {id: 3, n: 4}}); len(args) != 3 || args[2].([]int32)[1] != 4 {
		t.Error(args)
	}
	r := &row{}
	if to := cs.Targets(r, nil); len(to) != 4 || to[0] != any(&r.id) {
		t.Error(to)
	}
}
