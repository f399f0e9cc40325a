package audit

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/testkit"
)

// TestOneReplicaAuditsAtATime: what all replicas did at once would cost as many times the work.
func TestOneReplicaAuditsAtATime(t *testing.T) {
	pool := testkit.Pool(t, "public", func(context.Context, *pgxpool.Pool) error { return nil })
	first, err := tryLock(t.Context(), pool)
	if err != nil || first == nil {
		t.Fatalf("no turn: %v", err)
	}
	if second, err := tryLock(t.Context(), pool); err != nil || second != nil {
		t.Errorf("two have a turn: %v", err)
	}
	first()
	again, err := tryLock(t.Context(), pool)
	if err != nil || again == nil {
		t.Fatalf("no turn after the first was over: %v", err)
	}
	again()
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}
