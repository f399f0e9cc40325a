package plantest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Recorder keeps the statements that ran through a pool.
type Recorder struct {
	mu  sync.Mutex
	all []string
}

// Record returns a pool like the other one and what keeps its statements.
func Record(t testing.TB, pool *pgxpool.Pool) (*pgxpool.Pool, *Recorder) {
	t.Helper()
	r := &Recorder{}
	conf := pool.Config()
	conf.ConnConfig.Tracer = r
	own, err := pgxpool.NewWithConfig(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	return own, r
}

func (r *Recorder) note(sql string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begins.MatchString(sql) && !slices.Contains(r.all, sql) {
		r.all = append(r.all, sql)
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (r *Recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	r.note(q.SQL)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*Recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements pgx.BatchTracer.
func (*Recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (r *Recorder) TraceBatchQuery(_ context.Context, _ *pgx.Conn, q pgx.TraceBatchQueryData) {
	r.note(q.SQL)
}

// TraceBatchEnd implements pgx.BatchTracer.
func (*Recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (r *Recorder) seen() []string {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// began says whether a statement ran that begins so.
func (r *Recorder) began(sql string) bool {
	return slices.ContainsFunc(r.seen(), func(s string) bool { return strings.HasPrefix(s, sql) })
}
