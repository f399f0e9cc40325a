package pg_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/chore"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// execAll runs statements.
func (c *colony) execAll(statements ...string) {
	c.t.Helper()
	for _, sql := range statements {
		c.exec(sql)
	}
}

// The logs of one organisation are found without those of the others.
func TestOldLogsAreThoseOfTheOrganisation(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	c.execAll(`INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, lease_until, dispatched_at, ended_at, log_key, org_id)
			SELECT gen_random_uuid(), gen_random_uuid(), 0, 1, 'SUCCEEDED', 'ant1', gen_random_uuid(), now(), now(), now() - g * interval '1 second', 'x' || g,
				CASE WHEN g % 1000 = 0 THEN 'few' ELSE 'many' END FROM generate_series(1, 100000) g`, `ANALYZE attempt`)
	before := time.Now().Add(time.Hour)
	touched := func() (blocks int) {
		t.Helper()
		c.exec(`SELECT pg_stat_force_next_flush()`)
		if err := c.pool.QueryRow(t.Context(), `SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'attempt'`).Scan(&blocks); err != nil {
			t.Fatal(err)
		}
		return blocks
	}
	c.pool.Reset()
	begin := touched()
	var found []chore.Log
	var after chore.Mark
	for {
		logs, err := c.store.OldLogs(t.Context(), "few", after, before, 30)
		if err != nil {
			t.Fatal(err)
		}
		if found = append(found, logs...); len(logs) < 30 {
			break
		}
		after = chore.Mark{At: logs[29].Ended, UID: logs[29].UID}
	}
	c.pool.Reset() // its connections tell what they touched when they end
	if blocks := touched() - begin; len(found) != 100 || blocks > 500 {
		t.Errorf("%d logs by touching %d blocks", len(found), blocks)
	}
	if !slices.IsSortedFunc(found, func(a, b chore.Log) int { return a.Ended.Compare(b.Ended) }) {
		t.Error("they are not in order")
	}
}

// Of an upload the end of its attempt tells whether its object counts; one that ended without it leaves an orphan.
func TestUploadsThatNoEndNamesAreFound(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 3))
	c.end(c.start(1), map[string]string{"hosts": hosts(3)})
	placed := c.start(3)
	uids := make([]uuid.UUID, len(placed))
	for i, p := range placed {
		uids[i] = p.UID
	}
	places, err := c.store.Places(t.Context(), uids)
	if err == nil {
		err = c.store.NoteUploads(t.Context(), places)
	}
	if err != nil || len(places) != 3 {
		t.Fatalf("%d places: %v", len(places), err)
	}
	named, lost, live := places[uids[0]], places[uids[1]], places[uids[2]]
	step := func(uid uuid.UUID, end execution.End) {
		t.Helper()
		if v, err := c.store.Step(t.Context(), []execution.Event{{Kind: execution.AttemptEnded, UID: uid, End: end}}); err != nil || v[0] != execution.Applied {
			t.Fatalf("%v, %v", v, err)
		}
	}
	step(named.UID, execution.End{Ant: c.ant, Digest: []byte{1}, Log: execution.StoredLog{Key: named.ObjectKey()}, Outcome: engine.Outcome{State: engine.AttemptSucceeded}})
	step(lost.UID, execution.End{Outcome: engine.Outcome{State: engine.AttemptLost, FailureClass: engine.ClassInfra}})
	if all, err := c.store.Uploads(t.Context(), chore.Mark{}, time.Hour, 10); err != nil || len(all) != 0 {
		t.Fatalf("just now: %v, %v", all, err)
	}
	c.exec(`UPDATE upload SET given_at = given_at - interval '2 hours'`)
	all, err := c.store.Uploads(t.Context(), chore.Mark{}, time.Hour, 10)
	if err != nil || len(all) != 2 || slices.ContainsFunc(all, func(u chore.Upload) bool { return !u.Live || u.Named }) {
		t.Fatalf("ended a short time ago: %+v, %v", all, err)
	}
	c.exec(`UPDATE attempt SET ended_at = ended_at - interval '2 hours' WHERE ended_at IS NOT NULL`)
	if all, err = c.store.Uploads(t.Context(), chore.Mark{}, time.Hour, 10); err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, u := range all {
		if u.Live != (u.UID == live.UID) || u.UID == lost.UID && u.Key != lost.ObjectKey() {
			t.Errorf("%+v", u)
		}
	}
	if err := c.store.ForgetUploads(t.Context(), []uuid.UUID{lost.UID}); err != nil {
		t.Fatal(err)
	}
	if rest, err := c.store.Uploads(t.Context(), chore.Mark{}, time.Hour, 1); err != nil || len(rest) != 1 || rest[0].UID != live.UID {
		t.Errorf("%+v, %v", rest, err)
	}
}

// The outputs by name go with the runs that need them.
func TestOutputsOfEndedRunsAreForgotten(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	c.end(c.start(1), map[string]string{"hosts": hosts(1), "k": "v"})
	child := uuid.NewString()
	c.execAll(
		`INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at, ended_at)
			SELECT (lpad(to_hex((extract(epoch FROM now() - interval '40 hours') * 1000)::bigint), 12, '0') || substr(md5(random()::text), 1, 20))::uuid,
				'o', CASE WHEN g = 1 THEN '`+child+`' ELSE gen_random_uuid() END, 1, 'j', 'COMPLETED', now(), now(), now() - interval '1 hour' * (g - 1) * 2 - interval '30 hours' * (g % 2)
			FROM generate_series(1, 5) g`,
		`INSERT INTO output SELECT id, 'k' || n, 'v', 1, 0, now() FROM execution, generate_series(1, 3) n WHERE job_type = 'j'`,
		`INSERT INTO child (execution_id, task_idx, round, state, request_id, due_at, heard_at, created_at) VALUES (gen_random_uuid(), 0, 1, 'SUBMITTED', '`+child+`', now(), now(), now())`,
	)
	var after uuid.UUID
	for range 10 {
		var err error
		if after, err = c.store.ForgetOutputs(t.Context(), after, 24*time.Hour, 2); err != nil {
			t.Fatal(err)
		}
		if after == uuid.Nil {
			break
		}
	}
	var open, waited, young, old int
	err := c.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE e.ended_at IS NULL), count(*) FILTER (WHERE e.request_id = $1),
		count(*) FILTER (WHERE e.ended_at > now() - interval '24 hours'), count(*) FILTER (WHERE e.ended_at < now() - interval '24 hours' AND e.request_id <> $1)
		FROM output o JOIN execution e ON e.id = o.execution_id`, child).Scan(&open, &waited, &young, &old)
	if err != nil || open != 2 || waited != 3 || young != 6 || old != 0 {
		t.Errorf("%d outputs of the open run, %d of a child, %d of young runs, %d of old ones: %v", open, waited, young, old, err)
	}
}

// Of the runs of the last day none can have ended longer ago: they are not looked through again and again.
func TestOutputsOfYoungRunsAreNotLookedAt(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	for range 5 {
		c.exec(`INSERT INTO output SELECT '` + uuid.Must(uuid.NewV7()).String() + `', 'k', 'v', 1, 0, now()`)
	}
	if after, err := c.store.ForgetOutputs(t.Context(), uuid.Nil, time.Hour, 2); err != nil || after != uuid.Nil {
		t.Errorf("looked up to %s, %v", after, err)
	}
	if after, err := c.store.ForgetOutputs(t.Context(), uuid.Nil, -time.Hour, 2); err != nil || after == uuid.Nil {
		t.Errorf("runs of the last hour: %v", err)
	}
}
