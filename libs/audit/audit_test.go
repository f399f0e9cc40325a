package audit_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestRunReportsEveryViolation(t *testing.T) {
	pool := testkit.Pool(t, "public", func(ctx context.Context, p *pgxpool.Pool) error {
		_, err := p.Exec(ctx, "CREATE TABLE slot (id int, used int); INSERT INTO slot VALUES (1, 0), (2, -1), (3, -2)")
		return err
	})
	checks := []audit.Check{
		{Name: "never_negative", SQL: "SELECT 'slot ' || id FROM slot WHERE used < 0 ORDER BY id LIMIT 20"},
		{Name: "has_id", SQL: "SELECT 'a slot without id' FROM slot WHERE id IS NULL LIMIT 20"},
	}
	found, err := audit.Run(t.Context(), pool, checks)
	if err != nil {
		t.Fatal(err)
	}
	want := []audit.Violation{{Check: "never_negative", Detail: "slot 2"}, {Check: "never_negative", Detail: "slot 3"}}
	if len(found) != 2 || found[0] != want[0] || found[1] != want[1] {
		t.Errorf("found %v, want %v", found, want)
	}
	if _, err := audit.Run(t.Context(), pool, []audit.Check{{Name: "broken", SQL: "SELECT nonsense"}}); err == nil {
		t.Error("a check that cannot run was passed over")
	}
}
