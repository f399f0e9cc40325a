package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/quota"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Of implements quota.Store.
func (s *Store) Of(ctx context.Context, org string) ([]quota.Bound, quota.Used, error) {
	rows, err := s.q.QuotasOf(ctx, org)
	if err != nil {
		return nil, quota.Used{}, fmt.Errorf("read the quotas of %s: %w", org, err)
	}
	used, err := s.q.CountsOf(ctx, org)
	if err != nil {
		return nil, quota.Used{}, fmt.Errorf("count what %s has: %w", org, err)
	}
	return toBounds(rows), quota.Used{Queued: used.Queued, Running: used.Running}, nil
}

// Named implements quota.Store.
func (s *Store) Named(ctx context.Context, name, after string, most int) ([]quota.Bound, error) {
	rows, err := s.q.QuotasNamed(ctx, db.QuotasNamedParams{Name: name, After: after, MostRows: int32(most)})
	if err != nil {
		return nil, fmt.Errorf("read the quotas %s: %w", name, err)
	}
	return toBounds(rows), nil
}

// Set implements quota.Store.
func (s *Store) Set(ctx context.Context, org string, most map[string]int64, by string) error {
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		for _, name := range quota.Names() { // in their order, so that two calls never wait for each other
			n, ok := most[name]
			var err error
			switch {
			case !ok:
			case n == quota.None:
				err = q.DeleteQuota(ctx, db.DeleteQuotaParams{OrgID: org, Name: name})
			default:
				err = q.SetQuota(ctx, db.SetQuotaParams{OrgID: org, Name: name, Most: n, SetBy: by})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set quotas of %s: %w", org, err)
	}
	s.bounds.forget(org)
	return nil
}

func toBounds(rows []db.Quotum) []quota.Bound {
	out := make([]quota.Bound, len(rows))
	for i, r := range rows {
		out[i] = quota.Bound{Org: r.OrgID, Name: r.Name, Most: r.Most, SetAt: r.SetAt, SetBy: r.SetBy}
	}
	return out
}

// bounds remembers for a moment how many requests of organisations may wait, so that submissions of those that have no such
// quota cost nothing.
type bounds struct {
	mu    sync.Mutex
	known map[string]bound
}

type bound struct {
	most int64 // or quota.None
	at   time.Time
}

const (
	boundKept  = 2 * time.Second
	mostBounds = 10_000
)

func (b *bounds) forget(org string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, org)
}

// split returns the organisations that have to be asked about, and puts the bounds of the others into most.
func (b *bounds) split(orgs []string, now time.Time, most map[string]int64) (ask []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, org := range orgs {
		k, ok := b.known[org]
		if !ok || now.Sub(k.at) >= boundKept {
			ask = append(ask, org)
		} else if k.most != quota.None {
			most[org] = k.most
		}
	}
	return ask
}

func (b *bounds) learn(asked []string, now time.Time, most map[string]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil || len(b.known) > mostBounds {
		b.known = map[string]bound{}
	}
	for _, org := range asked {
		n, ok := most[org]
		if !ok {
			n = quota.None
		}
		b.known[org] = bound{most: n, at: now}
	}
}

// queuedBounds returns how many requests may wait of those organisations of the drafts that have such a quota.
func (s *Store) queuedBounds(ctx context.Context, drafts []request.Draft) (map[string]int64, error) {
	var orgs []string
	for i := range drafts {
		if org := drafts[i].Record.OrgID; !slices.Contains(orgs, org) {
			orgs = append(orgs, org)
		}
	}
	most, now := map[string]int64{}, time.Now()
	ask := s.bounds.split(orgs, now, most)
	if len(ask) == 0 {
		return most, nil
	}
	rows, err := s.q.QueuedQuotas(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("read how many requests may wait: %w", err)
	}
	for _, r := range rows {
		most[r.OrgID] = r.Most
	}
	s.bounds.learn(ask, now, most)
	return most, nil
}

// Room implements request.Store.
func (s *Store) Room(ctx context.Context, org string) error {
	most, err := s.queuedBounds(ctx, []request.Draft{{Record: request.Record{OrgID: org}}})
	if err != nil || len(most) == 0 {
		return err
	}
	used, err := s.q.CountsOf(ctx, org)
	if err != nil {
		return fmt.Errorf("count what %s has: %w", org, err)
	}
	if used.Queued >= most[org] {
		return quota.Full(org, most[org])
	}
	return nil
}

const (
	// boundLockSQL makes the submissions of an organisation that has a quota follow each other, so that all of them count.
	boundLockSQL = `SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.quota.' || $1, 0))`

	waitingOfSQL = `
SELECT coalesce(sum(x.n), 0)::bigint FROM (SELECT c.n FROM request_count c WHERE c.org_id = $1 AND c.state = 'PENDING'
    UNION ALL SELECT d.n FROM request_count_delta d WHERE d.org_id = $1 AND d.state = 'PENDING') x`
)

// errFull says that others were faster: there is not room for all of the drafts any more.
var errFull = errors.New("the quota has no room for all of them")

// room holds transactions to the quotas of organisations.
type room struct {
	need map[string]int64 // what is left over of the bound, and must not be negative, by organisation
	orgs []string
}

// newRoom is the room that drafts need; nil when nothing bounds them.
func newRoom(drafts []request.Draft, most map[string]int64) *room {
	r := &room{need: map[string]int64{}}
	for i := range drafts {
		org := drafts[i].Record.OrgID
		n, bounded := most[org]
		if !bounded {
			continue
		}
		if _, known := r.need[org]; !known {
			r.need[org] = n
			r.orgs = append(r.orgs, org)
		}
		r.need[org]--
	}
	if len(r.orgs) == 0 {
		return nil
	}
	slices.Sort(r.orgs) // two batches take the locks in one order
	return r
}

// queue reads, before anything is stored, what is there already. After the flush check says whether the rest has room.
func (r *room) queue(p *pgdb.Pipeline) (check func() error) {
	if r == nil {
		return func() error { return nil }
	}
	full := false
	for _, org := range r.orgs {
		p.Queue(boundLockSQL, org)
		p.Queue(waitingOfSQL, org).QueryRow(func(row pgx.Row) error {
			var waiting int64
			if err := row.Scan(&waiting); err != nil {
				return err
			}
			full = full || waiting > r.need[org]
			return nil
		})
	}
	return func() error {
		if full {
			return errFull
		}
		return nil
	}
}

// quotaTries bounds how often a batch is cut to the room that is left when others take it at the same time.
const quotaTries = 5

// within stores drafts as far as the quotas of their organisations allow; the others fail, each with its own error.
func (s *Store) within(
	ctx context.Context, drafts []request.Draft, store func(context.Context, []request.Draft, map[string]int64) ([]request.Stored, error),
) ([]request.Stored, []error) {
	out, failed := make([]request.Stored, len(drafts)), make([]error, len(drafts))
	failAll := func(of []int, err error) {
		for _, i := range of {
			failed[i] = err
		}
	}
	left := make([]int, len(drafts))
	for i := range left {
		left[i] = i
	}
	most, err := s.queuedBounds(ctx, drafts)
	if err != nil {
		failAll(left, err)
		return out, failed
	}
	for try := 1; len(left) > 0; try++ {
		var some []request.Draft
		var at, again []int
		free := map[string]int64{}
		for _, i := range left {
			org := drafts[i].Record.OrgID
			if n, bounded := most[org]; bounded {
				if _, known := free[org]; !known {
					used, err := s.q.CountsOf(ctx, org)
					if err != nil {
						failAll(left, fmt.Errorf("count what %s has: %w", org, err))
						return out, failed
					}
					free[org] = n - used.Queued
				}
				if free[org]--; free[org] < 0 || try > quotaTries {
					failed[i] = quota.Full(org, n)
					continue
				}
			}
			some, at = append(some, drafts[i]), append(at, i)
		}
		got, faults := apart(ctx, some, func(ctx context.Context, d []request.Draft) ([]request.Stored, error) { return store(ctx, d, most) })
		for n, i := range at {
			switch {
			case n < len(faults) && errors.Is(faults[n], errFull):
				again = append(again, i)
			case n < len(faults) && faults[n] != nil:
				failed[i] = faults[n]
			default:
				out[i] = got[n]
			}
		}
		left = again
	}
	return out, failed
}
