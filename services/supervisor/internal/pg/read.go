package pg

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg/db"
)

// Find returns the ids of the runs that exist.
func (s *Store) Find(ctx context.Context, keys []execution.Key) (map[execution.Key]uuid.UUID, error) {
	requests, runs := columns(keys)
	rows, err := db.New().FindRuns(ctx, s.pool, db.FindRunsParams{RequestIds: requests, Runs: runs})
	if err != nil {
		return nil, fmt.Errorf("find %d runs: %w", len(keys), err)
	}
	found := make(map[execution.Key]uuid.UUID, len(rows))
	for _, r := range rows {
		found[execution.Key{Request: r.RequestID, Run: int(r.Run)}] = r.ID
	}
	return found, nil
}

func columns(keys []execution.Key) ([]uuid.UUID, []int32) {
	requests, runs := make([]uuid.UUID, len(keys)), make([]int32, len(keys))
	for i, k := range keys {
		requests[i], runs[i] = k.Request, int32(k.Run)
	}
	return requests, runs
}

// States returns the runs that exist as the events about them would.
func (s *Store) States(ctx context.Context, keys []execution.Key) ([]execution.Moved, error) {
	requests, runs := columns(keys)
	rows, err := db.New().RunStates(ctx, s.pool, db.RunStatesParams{RequestIds: requests, Runs: runs})
	if err != nil {
		return nil, fmt.Errorf("read states of %d runs: %w", len(keys), err)
	}
	all := make([]execution.Moved, len(rows))
	for i, r := range rows {
		all[i] = execution.Moved{
			Run: execution.Run{Key: execution.Key{Request: r.RequestID, Run: int(r.Run)}},
			Job: engine.Job{
				Run: int(r.Run), State: engine.JobState(r.State), Version: r.Version, ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage,
				StartedAt: r.StartedAt, EndedAt: r.EndedAt, RestartAt: r.RestartAt, RestartSoft: r.RestartSoft, ResumeAt: r.ResumeAt,
			},
		}
	}
	return all, nil
}

// Live returns those of uids that are live.
func (s *Store) Live(ctx context.Context, uids []uuid.UUID) ([]uuid.UUID, error) {
	live, err := db.New().LiveAttempts(ctx, s.pool, uids)
	if err != nil {
		return nil, fmt.Errorf("check %d attempts: %w", len(uids), err)
	}
	return live, nil
}

// Places says whose attempts are, whether they are live, and where their logs belong.
func (s *Store) Places(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]execution.LogPlace, error) {
	rows, err := db.New().LogPlaces(ctx, s.pool, uids)
	if err != nil {
		return nil, fmt.Errorf("find %d attempts: %w", len(uids), err)
	}
	places := make(map[uuid.UUID]execution.LogPlace, len(rows))
	for _, r := range rows {
		places[r.Uid] = execution.LogPlace{
			Live: r.Live, Ant: r.AntID, Session: r.Session, Org: r.OrgID, Key: execution.Key{Request: r.RequestID, Run: int(r.Run)},
			Task: r.Name, UID: r.Uid,
		}
	}
	return places, nil
}

// NoteUploads notes that the addresses of the logs of live attempts are given out: what is put there has to be deleted if no
// result names it. It does not wait for the disk: an address that is forgotten by a crash of the database in the next moment may
// leave an object, and a task should not end later for that.
func (s *Store) NoteUploads(ctx context.Context, places map[uuid.UUID]execution.LogPlace) error {
	var given []uuid.UUID
	var keys, orgs []string
	for uid, p := range places {
		if p.Live {
			given, keys = append(given, uid), append(keys, storable.Text(p.ObjectKey()))
			orgs = append(orgs, p.Org)
		}
	}
	if len(given) == 0 {
		return nil
	}
	err := s.tx(ctx, func(_ context.Context, t *pgdb.Pipeline) error {
		t.Queue(`SET LOCAL synchronous_commit = off`)
		t.Queue(`INSERT INTO upload (attempt_uid, key, given_at, org_id) SELECT unnest($1::uuid[]), unnest($2::text[]), now(), unnest($3::text[])
			ON CONFLICT (attempt_uid) DO UPDATE SET given_at = excluded.given_at`, given, keys, orgs)
		return nil
	})
	if err != nil {
		return fmt.Errorf("note %d uploads: %w", len(given), err)
	}
	return nil
}

// Quarantine keeps a message that can never be handled.
func (s *Store) Quarantine(ctx context.Context, kind, key string, payload []byte, reason string) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO quarantine (kind, key, payload, reason) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, key) DO NOTHING`,
		kind, key, payload, storable.Text(reason))
	if err != nil {
		return fmt.Errorf("quarantine %s: %w", key, err)
	}
	return nil
}

// Failed records that something failed when it was tried alone, by its own fault, and returns how often it has. What is a
// day old is forgotten: it was handled since, or is gone.
func (s *Store) Failed(ctx context.Context, kind, key, reason string) (n int, err error) {
	err = s.pool.QueryRow(ctx, `WITH old AS (DELETE FROM failure o WHERE o.at < now() - interval '1 day' AND (o.kind, o.key) <> ($1, $2))
		INSERT INTO failure AS f (kind, key, count, reason, at) VALUES ($1, $2, 1, $3, now())
		ON CONFLICT (kind, key) DO UPDATE SET count = f.count + 1, reason = excluded.reason, at = excluded.at RETURNING count`,
		kind, key, storable.Text(reason)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("record a failure of %s %s: %w", kind, key, err)
	}
	return n, nil
}
