package pg

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// Save queues the rows that changed.
func (x *tx) Save(w *step.Writes) error {
	if err := x.queueInserted(w.Inserted); err != nil {
		return err
	}
	if w.Vote != nil {
		x.queueVote(w.Vote)
	}
	if err := x.queueEffects(&w.Effects, w.Now); err != nil {
		return err
	}
	x.queueEnds(w.Ends, w.Now)
	if len(w.Stops) > 0 {
		x.t.Queue(`UPDATE attempt SET stop_requested_at = $2 WHERE uid = ANY($1::uuid[])`, w.Stops, w.Now)
	}
	if err := x.queueChanged(w); err != nil {
		return err
	}
	x.queueAttempts(w.Attempts, w.Now)
	if len(w.Settled) > 0 {
		x.t.Queue(`DELETE FROM slot_release WHERE attempt_uid = ANY($1::uuid[])`, w.Settled)
	}
	x.queueReleases(w.Released, w.Now)
	return nil
}

// queueChanged writes tasks and runs.
func (x *tx) queueChanged(w *step.Writes) error {
	var runs []*runRow
	var tasks, made []*taskRow
	var placed placeRows
	for _, c := range w.Runs {
		r, err := changedRun(c.ID, c.Job, c.WithPolicy)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	for _, t := range w.Tasks {
		if t.New {
			r, err := newTask(t.Run, t.Task)
			if err != nil {
				return err
			}
			made = append(made, r)
			continue
		}
		if t.Place != nil && !t.IsItem() {
			placed.add(t.Run, t.Task)
		}
		r, err := changedTask(t.Run.ID, t.Task)
		if err != nil {
			return err
		}
		tasks = append(tasks, r)
	}
	if len(made) > 0 {
		x.t.Queue(insertTasks, newTasks.Args(made)...)
	}
	if len(placed.ids) > 0 {
		x.t.Queue(updatePlaces, placed.ids, placed.idx, placed.classes, placed.methods, placed.slots)
	}
	if len(tasks) > 0 {
		x.t.Queue(updateTasks, changedTasks.Args(tasks)...)
	}
	if len(runs) > 0 {
		x.t.Queue(updateRuns, changedRuns.Args(runs)...)
	}
	return nil
}

// queueAttempts inserts attempts.
func (x *tx) queueAttempts(all []step.NewAttempt, now time.Time) {
	if len(all) == 0 {
		return
	}
	n := len(all)
	uids, ids, sessions, ants := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	idx, numbers, slots, until, orgs := make([]int32, n), make([]int32, n), make([]int32, n), make([]time.Time, n), make([]string, n)
	for i, a := range all {
		uids[i], ids[i], sessions[i], ants[i] = a.UID, a.Execution, a.Session, a.Ant
		idx[i], numbers[i], slots[i], until[i] = int32(a.Idx), int32(a.Number), int32(a.Slots), a.ClaimUntil
		orgs[i] = a.Org
	}
	x.t.Queue(`INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, slots, lease_until, org_id, dispatched_at)
		SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::int[]), unnest($4::int[]), 'DISPATCHED', unnest($5::text[]),
			unnest($6::uuid[]), unnest($7::int[]), unnest($8::timestamptz[]), unnest($10::text[]), $9::timestamptz`,
		uids, ids, idx, numbers, ants, sessions, slots, until, now, orgs)
}

// queueReleases gives back the slots of attempts.
func (x *tx) queueReleases(uids []uuid.UUID, now time.Time) {
	if len(uids) > 0 {
		x.t.Queue(`INSERT INTO slot_release (attempt_uid, created_at) SELECT unnest($1::uuid[]), $2 ON CONFLICT DO NOTHING`, uids, now)
	}
}

// queueEnds queues the ends of attempts and the release of their slots.
func (x *tx) queueEnds(all []step.EndedAttempt, now time.Time) {
	if len(all) == 0 {
		return
	}
	n := len(all)
	uids, states, codes, classes := make([]uuid.UUID, n), make([]string, n), make([]int32, n), make([]string, n)
	messages, digests, keys, sizes, sums := make([]string, n), make([][]byte, n), make([]string, n), make([]int64, n), make([]string, n)
	usages, caches := make([]*string, n), make([]*string, n)
	formats, stored := make([]int16, n), make([]int64, n)
	var named []uuid.UUID // attempts whose log is named from now on
	for i, e := range all {
		o := e.Outcome
		uids[i], states[i], codes[i], classes[i] = e.UID, string(o.State), int32(o.ExitCode), o.FailureClass
		messages[i], digests[i] = storable.Text(o.Message), e.Digest
		keys[i], sizes[i], sums[i] = storable.Text(e.Log.Key), e.Log.Bytes, storable.Text(e.Log.SHA256)
		formats[i], stored[i] = int16(e.Log.Format), e.Log.Stored
		if e.Usage != nil {
			raw, _ := json.Marshal(e.Usage) // numbers only
			usages[i] = new(string(raw))
		}
		if e.Cache != nil {
			raw, _ := json.Marshal(e.Cache) // numbers and texts that can be stored
			caches[i] = new(string(raw))
		}
		if keys[i] != "" {
			named = append(named, e.UID)
		}
	}
	x.t.Queue(`UPDATE attempt a SET state = u.state, exit_code = u.exit_code, failure_class = u.failure_class, message = u.message,
		result_digest = u.result_digest, log_key = u.log_key, log_bytes = u.log_bytes, log_sha256 = u.log_sha256, log_format = u.log_format, log_stored = u.log_stored, usage = u.usage, cache = u.cache, ended_at = $10
		FROM (SELECT unnest($1::uuid[]) AS uid, unnest($2::text[]) AS state, unnest($3::int[]) AS exit_code, unnest($4::text[]) AS failure_class,
			unnest($5::text[]) AS message, unnest($6::bytea[]) AS result_digest, unnest($7::text[]) AS log_key, unnest($8::bigint[]) AS log_bytes,
			unnest($9::text[]) AS log_sha256, unnest($11::smallint[]) AS log_format, unnest($12::bigint[]) AS log_stored, unnest($13::json[]) AS usage, unnest($14::json[]) AS cache) u WHERE a.uid = u.uid`,
		uids, states, codes, classes, messages, digests, keys, sizes, sums, now, formats, stored, usages, caches)
	if len(named) > 0 {
		x.t.Queue(`DELETE FROM upload WHERE attempt_uid = ANY($1::uuid[])`, named)
	}
	x.queueArtifacts(all, now)
	x.queueReleases(uids, now)
}
