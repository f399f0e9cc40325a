// Package chore does what supervisor itself does for tasks: EXPIRE_ARTIFACTS deletes the logs of attempts that ended
// long ago. The record of the attempts stays; their logs are gone.
//
// It also deletes, unasked, what nothing names any more: objects whose upload was begun by an attempt that ended without
// them, and the outputs by name of runs that ended; and caches that are over, or too much for their organisation.
//
// A chore is a row that a step has written; who takes it has it for the lease, which every batch renews. After a crash
// another replica goes on with what is left, so that only the count of what was deleted is kept with the chore.
package chore

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Chore is one to be done.
type Chore struct {
	child.Key
	Org    string
	Params []byte // JSON object: the variables of its task
	Tries  int    // of doing it, this one included
	Done   int    // deleted by earlier tries
	after  Mark   // in this turn: the index still holds what it deleted
	// refused is how many artifacts could not be deleted in this turn.
	refused int
}

// Log is the final log of an attempt.
type Log struct {
	UID   uuid.UUID // of the attempt
	Key   string    // of the object
	Ended time.Time
}

// Mark is a place among attempts in the order of a time.
type Mark struct {
	At  time.Time
	UID uuid.UUID
}

// Upload is an address for a log that was given out.
type Upload struct {
	Mark
	Key   string
	Live  bool // its attempt is, or ended a short time ago
	Named bool // the end of its attempt names the object
}

// Store keeps chores and logs.
type Store interface {
	Now() time.Time
	// TakeChores returns chores that are due and hides them for the lease.
	TakeChores(ctx context.Context, lease time.Duration, limit int) ([]Chore, error)
	// TakeUnwanted returns chores that nobody waits for any more and hides them for the lease.
	TakeUnwanted(ctx context.Context, lease time.Duration, limit int) ([]child.Key, error)
	// RenewChore hides a chore for the lease again and keeps how much is done. It says whether it is still wanted.
	RenewChore(ctx context.Context, k child.Key, done int, lease time.Duration) (bool, error)
	// OldLogs returns logs of attempts of the organisation that ended after a mark and before a time, the oldest first.
	OldLogs(ctx context.Context, org string, after Mark, before time.Time, limit int) ([]Log, error)
	// ForgetLogs notes that the logs of attempts are gone.
	ForgetLogs(ctx context.Context, uids []uuid.UUID) error
	// Uploads returns addresses for logs that were given out longer ago than the age, after a mark, the oldest first.
	Uploads(ctx context.Context, after Mark, age time.Duration, limit int) ([]Upload, error)
	ForgetUploads(ctx context.Context, uids []uuid.UUID) error
	// ForgetOutputs deletes the outputs by name of runs that ended longer ago than the age, of as many runs as limit says
	// after one. It returns the last run that it looked at, the zero one at the end.
	ForgetOutputs(ctx context.Context, after uuid.UUID, age time.Duration, limit int) (uuid.UUID, error)
	// OldUploads returns uploads of artifacts that were begun longer ago than the age and that no end can name any more.
	// The oldest are passed over as many as skip says.
	OldUploads(ctx context.Context, age time.Duration, skip, limit int) ([]artifact.Upload, error)
	ForgetArtifactUploads(ctx context.Context, ids []uuid.UUID) error
	// ExpiredArtifacts returns artifacts whose time is over, behind as many as skip says.
	ExpiredArtifacts(ctx context.Context, skip, limit int) ([]artifact.Artifact, error)
	ForgetArtifacts(ctx context.Context, ids []uuid.UUID) error
	// DropCaches makes uploads that became nothing of some caches whose time is over, and of those that were used least
	// recently of organisations that have more than the quota.
	DropCaches(ctx context.Context, quota int64, limit int) ([]artifact.Upload, error)
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
}

// Blobs keeps objects.
type Blobs interface {
	// Remove deletes objects; those that do not exist are no fault.
	Remove(ctx context.Context, keys []string) error
	// AbortParts forgets an upload in parts; one that does not exist is no fault.
	AbortParts(ctx context.Context, key, id string) error
}

// Loop does chores. Any number of processes may run one.
type Loop struct {
	store  Store
	blobs  Blobs
	log    *slog.Logger
	wake   run.Signal
	cached run.Signal
	quota  int64 // of the caches of an organisation

	dropped Mark      // up to where Tidy has looked for orphans
	tidied  uuid.UUID // and for outputs
}

const (
	sweepEvery = 5 * time.Second
	lease      = time.Minute
	batchSize  = 500
	perRound   = 10
	// batchesPerTurn bounds how much of one chore is done before the others have their turn.
	batchesPerTurn = 10
	// mostPerChore bounds one chore: what is left goes with the next.
	mostPerChore = 200_000
	maxDelay     = time.Minute
	// mostTries is how often a chore is tried while the object store deletes nothing; after that it ends with what is done.
	mostTries = 10
)

// New returns a loop; quota is that of the caches of an organisation, in bytes.
func New(store Store, blobs Blobs, quota int64, log *slog.Logger) *Loop {
	return &Loop{store: store, blobs: blobs, log: log, wake: run.NewSignal(), cached: run.NewSignal(), quota: quota}
}

// Changed takes from a commit what concerns chores.
func (l *Loop) Changed(c *execution.Changes) {
	if c.Chores {
		l.wake.Set()
	}
}

// Run works until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "chores", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.log, "chores", sweepEvery, l.wake, l.Round)
		}},
		run.Member{Name: "tidying", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.log, "tidying", tidyEvery, run.NewSignal(), l.Tidy)
		}},
		run.Member{Name: "caches", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.log, "caches", tidyEvery, l.cached, l.TidyCaches)
		}},
	)
}

// Round does what is due. A chore that fails is left for later and does not keep the others from being done.
func (l *Loop) Round(ctx context.Context) error {
	if err := l.endUnwanted(ctx); err != nil {
		return err
	}
	chores, err := l.store.TakeChores(ctx, lease, perRound)
	if err != nil {
		return err
	}
	for i := range chores {
		c := &chores[i]
		err := run.Safely(ctx, func(ctx context.Context) error { return l.do(ctx, c) })
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.log.Error("chore failed", "key", c.String(), "tries", c.Tries, "error", err)
		if _, err := l.store.RenewChore(ctx, c.Key, c.Done, delay(c.Tries)); err != nil {
			return err
		}
	}
	return nil
}

// endUnwanted ends chores that nobody waits for any more.
func (l *Loop) endUnwanted(ctx context.Context) error {
	keys, err := l.store.TakeUnwanted(ctx, lease, batchSize)
	if err != nil || len(keys) == 0 {
		return err
	}
	events := make([]execution.Event, len(keys))
	for i, k := range keys {
		events[i] = execution.Event{
			Kind: execution.ChildEnded, Execution: k.Execution, Idx: k.Idx, Round: k.Round, Child: execution.ChildNews{State: "CANCELLED"},
		}
	}
	_, err = l.store.Step(ctx, events)
	return err
}

// do does a chore to its end.
func (l *Loop) do(ctx context.Context, c *Chore) error {
	days, err := retention(c.Params)
	if err != nil {
		return l.end(ctx, c, execution.ChildNews{State: "FAILED", ErrorCode: "ERR_TASK_EXECUTE", Message: err.Error()})
	}
	before := l.store.Now().Add(-time.Duration(days * float64(day)))
	for range batchesPerTurn {
		more, err := l.some(ctx, c, before)
		if err != nil {
			return err
		}
		if !more || c.Done >= mostPerChore {
			return l.end(ctx, c, execution.ChildNews{State: "COMPLETED", Outputs: map[string]string{"expired": strconv.Itoa(c.Done)}})
		}
		if wanted, err := l.store.RenewChore(ctx, c.Key, c.Done, lease); err != nil || !wanted {
			return err
		}
	}
	l.wake.Set()
	_, err = l.store.RenewChore(ctx, c.Key, c.Done, 0) // behind the others that are due
	return err
}

// some does a portion of a chore; it says whether there is more. What was deleted is not found again, so that each
// portion begins where the last one ended.
func (l *Loop) some(ctx context.Context, c *Chore, before time.Time) (more bool, err error) {
	over, more, err := l.expireArtifacts(ctx, &c.refused)
	for _, a := range over {
		if a.Org == c.Org {
			c.Done++
		}
	}
	if err != nil { // they go with the tidying, too: the logs do not wait for them
		l.log.Error("artifacts are not deleted", "key", c.String(), "error", err)
	}
	if more {
		return true, ctx.Err()
	}
	logs, err := l.store.OldLogs(ctx, c.Org, c.after, before, batchSize)
	if err != nil {
		return false, err
	}
	if err := l.expire(ctx, logs); err != nil {
		if c.Tries < mostTries || ctx.Err() != nil {
			return false, err
		}
		l.log.Error("logs are left to the next chore", "key", c.String(), "error", err)
	}
	if c.Done += len(logs); len(logs) > 0 {
		last := logs[len(logs)-1]
		c.after = Mark{At: last.Ended, UID: last.UID}
	}
	return len(logs) == batchSize, nil
}

// expire deletes logs: first the objects, then what names them, so that none is left that nothing names.
func (l *Loop) expire(ctx context.Context, logs []Log) error {
	if len(logs) == 0 {
		return nil
	}
	keys, uids := make([]string, len(logs)), make([]uuid.UUID, len(logs))
	for i, x := range logs {
		keys[i], uids[i] = x.Key, x.UID
	}
	gone, err := l.remove(ctx, keys)
	if err != nil {
		return err
	}
	return l.store.ForgetLogs(ctx, those(uids, gone))
}

func (l *Loop) end(ctx context.Context, c *Chore, news execution.ChildNews) error {
	_, err := l.store.Step(ctx, []execution.Event{{
		Kind: execution.ChildEnded, Execution: c.Execution, Idx: c.Idx, Round: c.Round, Child: news,
	}})
	return err
}

const (
	day         = 24 * time.Hour
	defaultDays = 30
	mostDays    = 100_000
)

// retention reads after how many days logs expire.
func retention(params []byte) (float64, error) {
	if len(params) == 0 {
		return defaultDays, nil
	}
	var vars map[string]any
	if err := json.Unmarshal(params, &vars); err != nil {
		return 0, fmt.Errorf("read the variables of the task: %w", err)
	}
	v, ok := vars["retention_days"]
	if !ok {
		return defaultDays, nil
	}
	days, err := strconv.ParseFloat(strings.TrimSpace(fmt.Sprint(v)), 64)
	if err != nil || !(days >= 0 && days <= mostDays) {
		return 0, fmt.Errorf("retention_days is %q, want a number of days from 0 to %d", fmt.Sprint(v), mostDays)
	}
	return days, nil
}

func delay(tries int) time.Duration { return min(time.Second<<min(max(tries-1, 0), 6), maxDelay) }
