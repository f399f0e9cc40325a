package pg

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
)

const readFleet = `SELECT org_id, state = 'DRAINING', deaf <> '', COALESCE(avoided_until > now(), false), methods, unhealthy, tags, offered, count(*), sum(used)
	FROM ant WHERE state <> 'OFFLINE' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8`

// fleet keeps the count of all ants, which refusals are explained by. It is read again after twenty times as long as the
// reading took, so however many ants there are and however many asks are refused, it costs a twentieth of one connection;
// and at once when this replica has changed an ant.
type fleet struct {
	pool *pgxpool.Pool

	mu    sync.Mutex
	kinds place.Fleet
	until time.Time

	changeMu sync.Mutex
	changes  int // ever
	seen     int // when kinds were read
}

const fleetShare = 20

func (f *fleet) get(ctx context.Context) (place.Fleet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes := f.count(0)
	began := time.Now()
	if f.seen == changes && began.Before(f.until) {
		return f.kinds, nil
	}
	kinds, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	f.kinds, f.seen = kinds, changes
	f.until = time.Now().Add(fleetShare * time.Since(began))
	return kinds, nil
}

// drop says that an ant has changed.
func (f *fleet) drop() { f.count(1) }

func (f *fleet) count(more int) int {
	f.changeMu.Lock()
	defer f.changeMu.Unlock()
	f.changes += more
	return f.changes
}

func (f *fleet) read(ctx context.Context) (place.Fleet, error) {
	kinds := place.Fleet{}
	err := pgdb.Pipelined(ctx, f.pool, func(_ context.Context, t *pgdb.Pipeline) error {
		kinds = place.Fleet{}
		t.Queue(walk) // grouping by hash: sorting so many lists takes ten times as long
		t.Queue(readFleet).Query(func(rows pgx.Rows) error {
			var k place.Kinds
			_, err := pgx.ForEachRow(rows, []any{&k.Org, &k.Draining, &k.Unreachable, &k.Avoided, &k.Methods, &k.Unhealthy, &k.Tags, &k.Slots, &k.Ants, &k.Used}, func() error {
				kinds = append(kinds, k)
				k = place.Kinds{} // its slices belong to the one appended
				return nil
			})
			return err
		})
		return nil
	})
	return kinds, err
}
