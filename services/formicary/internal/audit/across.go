package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/keyring"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

// stores are where a colony keeps what it knows.
type stores struct {
	pools map[string]*pgxpool.Pool // by schema
	s3    colony.S3
	ring  string // the file with the keys of secrets; empty for none
}

// comparison looks at several invariants between schemas.
type comparison struct {
	name   string
	checks int
	look   func(context.Context, stores) ([]audit.Violation, error)
}

var comparisons = [...]comparison{ //nolint:gochecknoglobals // a constant table
	{"requests and executions", 5, func(ctx context.Context, s stores) ([]audit.Violation, error) {
		return compareRuns(ctx, s.pools["job"], s.pools["execution"])
	}},
	{"holds and attempts", 2, func(ctx context.Context, s stores) ([]audit.Violation, error) {
		return compareHolds(ctx, s.pools["resource"], s.pools["execution"])
	}},
	{"artifacts and objects", 3, func(ctx context.Context, s stores) ([]audit.Violation, error) {
		return artifacts.compare(ctx, s.pools["execution"], s.s3)
	}},
	{"caches and objects", 3, func(ctx context.Context, s stores) ([]audit.Violation, error) {
		return caches.compare(ctx, s.pools["execution"], s.s3)
	}},
	{"outbox_age", 1, outboxes},
	{"job_secrets_open", 1, secrets},
}

func (c comparison) inspect(ctx context.Context, s stores) Report {
	found, err := c.look(ctx, s)
	r := Report{Checks: c.checks, Violations: found}
	if err != nil {
		r.Failures = []audit.Failure{{Check: c.name, Error: err.Error()}}
	}
	return r
}

// sampledSecrets is how many secrets under each key are opened.
const sampledSecrets = 200

// secrets opens some secrets with the key ring, others each time.
func secrets(ctx context.Context, s stores) ([]audit.Violation, error) {
	var some bool
	if err := s.pools["job"].QueryRow(ctx, "SELECT EXISTS (SELECT FROM sealed)").Scan(&some); err != nil || !some {
		return nil, err
	}
	if s.ring == "" {
		return nil, errors.New("there are secrets, and nobody says where their key ring is: set FORMICARY_KEYRING")
	}
	ring, err := keyring.OpenFile(s.ring)
	if err != nil {
		return nil, err
	}
	broken, err := jobmanager.VerifySecrets(ctx, s.pools["job"], ring, rand.Text(), sampledSecrets)
	if err != nil {
		return nil, err
	}
	found := make([]audit.Violation, min(len(broken), mostOfAKind))
	for i := range found {
		found[i] = audit.Violation{Check: "job_secrets_open", Detail: broken[i]}
	}
	return found, nil
}

// Events on their way make differences that are no fault: a mirror may lag by lag, a hold by holdAge. What is younger
// is not judged.
const (
	lag         = time.Minute
	holdAge     = 10 * time.Second
	secondLook  = 2 * time.Second
	mostOfAKind = 20
	mostUnsent  = 1000 // more are not counted
)

// outboxes finds messages that nobody sends.
func outboxes(ctx context.Context, s stores) ([]audit.Violation, error) {
	var found []audit.Violation
	for schema, pool := range s.pools {
		var has bool
		if err := pool.QueryRow(ctx, "SELECT to_regclass('outbox') IS NOT NULL").Scan(&has); err != nil {
			return found, fmt.Errorf("look for the outbox of %s: %w", schema, err)
		}
		if !has {
			continue
		}
		var late int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM outbox WHERE created_at < now() - $1::interval LIMIT $2) o", lag.String(), mostUnsent).Scan(&late)
		if err != nil {
			return found, fmt.Errorf("count the outbox of %s: %w", schema, err)
		}
		if late > 0 {
			found = append(found, audit.Violation{Check: "outbox_age", Detail: fmt.Sprintf("%d messages of schema %s are unsent for more than %s", late, schema, lag)})
		}
	}
	return found, nil
}

// compareHolds compares slot holds with live attempts. Reads of two schemas are never of one instant, so what differs
// is looked at again, and only what differs twice is a finding.
func compareHolds(ctx context.Context, resource, execution *pgxpool.Pool) ([]audit.Violation, error) {
	first, err := holdDifferences(ctx, resource, execution)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	select {
	case <-time.After(secondLook):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	second, err := holdDifferences(ctx, resource, execution)
	if err != nil {
		return nil, err
	}
	var found []audit.Violation
	for uid, v := range second {
		if first[uid].Check == v.Check && len(found) < mostOfAKind {
			found = append(found, v)
		}
	}
	return found, nil
}

// holdDifferences returns what differs now, by attempt.
func holdDifferences(ctx context.Context, resource, execution *pgxpool.Pool) (map[string]audit.Violation, error) {
	holds, err := collect(ctx, resource, `SELECT attempt_uid::text, created_at < now() - $1::interval FROM hold`, holdAge.String())
	if err != nil {
		return nil, err
	}
	live, err := collect(ctx, execution, `SELECT uid::text, true FROM attempt WHERE state IN ('DISPATCHED', 'RUNNING')`)
	if err != nil {
		return nil, err
	}
	diff := map[string]audit.Violation{}
	for uid, old := range holds {
		if _, ok := live[uid]; !ok && old {
			diff[uid] = audit.Violation{Check: "hold_names_live_attempt", Detail: fmt.Sprintf("a hold older than %s names attempt %s, which is not live", holdAge, uid)}
		}
	}
	for uid := range live {
		if _, ok := holds[uid]; !ok {
			diff[uid] = audit.Violation{Check: "live_attempt_has_hold", Detail: fmt.Sprintf("live attempt %s has no hold", uid)}
		}
	}
	return diff, nil
}

func collect(ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (map[string]bool, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	var key string
	var value bool
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error { out[key] = value; return nil })
	return out, err
}
