package pgdb_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/testkit"
)

func empty(context.Context, *pgxpool.Pool) error { return nil }

func TestUUIDsTravelBothWays(t *testing.T) {
	pool := testkit.Pool(t, "public", empty)
	want := []uuid.UUID{uuid.New(), uuid.Nil, uuid.New()}
	rows, err := pool.Query(t.Context(), "SELECT unnest($1::uuid[])", want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	var (
		one, none *uuid.UUID
		again     []uuid.UUID
		text      string
	)
	err = pool.QueryRow(t.Context(), "SELECT $1::uuid, $2::uuid, $3::uuid[], $1::uuid::text", &want[0], none, want).Scan(&one, &none, &again, &text)
	if err != nil || one == nil || *one != want[0] || none != nil || !slices.Equal(again, want) || text != want[0].String() {
		t.Errorf("%v %v %v %s, %v", one, none, again, text, err)
	}
	var null uuid.UUID
	if err := pool.QueryRow(t.Context(), "SELECT NULL::uuid").Scan(&null); err == nil {
		t.Error("NULL was scanned into a value")
	}
	if err := pool.QueryRow(t.Context(), "SELECT $1::uuid", want[0].String()).Scan(&text); err != nil || text != want[0].String() {
		t.Errorf("as text: %s, %v", text, err)
	}
}

func BenchmarkUUIDs(b *testing.B) {
	pool := testkit.Pool(b, "public", empty)
	ids := make([]uuid.UUID, 500)
	for i := range ids {
		ids[i] = uuid.New()
	}
	for b.Loop() {
		rows, err := pool.Query(b.Context(), "SELECT unnest($1::uuid[])", ids)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID]); err != nil {
			b.Fatal(err)
		}
	}
}
