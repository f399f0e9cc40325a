// Package attempt is what ants ask for: the work of an attempt, whether their attempts still live, a place for a log.
// Calls that come together are answered by one transaction.
package attempt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/secret"
)

// Store keeps attempts.
type Store interface {
	Claim(ctx context.Context, claims []execution.Claim) (map[uuid.UUID]*execution.Claimed, error)
	Keep(ctx context.Context, claims []execution.Claim) error
	Sync(ctx context.Context, reports []execution.Report) ([]execution.Answer, []uuid.UUID, error)
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
	// OutputsOf returns outputs of a run by name; all of them when names holds template.UsesAll.
	OutputsOf(ctx context.Context, id uuid.UUID, names []string) (map[string]string, error)
	NoteUploads(ctx context.Context, places map[uuid.UUID]execution.LogPlace) error
	Places(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]execution.LogPlace, error)
	// Inputs returns the artifacts of tasks of a run, and of ids of the organisation; from then on an attempt may read them.
	Inputs(ctx context.Context, attempt, run uuid.UUID, org string, tasks []string, ids []uuid.UUID) ([]execution.Input, error)
}

// Definitions gives pinned versions.
type Definitions interface {
	Get(ctx context.Context, k definition.Key) (*jobspec.Definition, error)
}

// Hosts answer the functions of templates that count and submit jobs; nil: nobody does.
type Hosts func(ctx context.Context, x *execution.Claimed) template.Host

// Work is the answer to a claim.
type Work struct {
	UID     uuid.UUID
	Refused string // why it must not run; the rest is unset then
	*execution.Claimed
	Spec        plan.Spec
	Environment environ.Env
	Timeout     time.Duration // from the first claim
	Age         time.Duration // since then
	Inputs      []execution.Input
	Missing     string // what of them is not there any more
	Secrets     []Secret
	Masks       []secret.Value // must not be seen in what the task makes
	masker      *mask.Masker   // finds them; nil: there are none
}

// IdempotencyKey is the same for all attempts of a task in a run.
func (w *Work) IdempotencyKey() string {
	return fmt.Sprintf("%s/%d/%s", w.Job.Request, w.Job.Key.Run, w.Task.Name)
}

// Manager answers ants.
type Manager struct {
	store       Store
	definitions Definitions
	hosts       Hosts
	given       Secrets
	answers     answers
	log         *slog.Logger
	gone        func([]uuid.UUID)
	claims      *batch.Group[execution.Claim, *execution.Claimed]
	syncs       *batch.Group[execution.Report, execution.Answer]
	secrets     *batch.Group[secret.Query, secret.Answer]
	logs        *batch.Group[uuid.UUID, execution.LogPlace]
	places      *batch.Group[uuid.UUID, execution.LogPlace]
}

// batches of claims are large enough for a burst and small enough that the first of it is not kept waiting.
const (
	claimBatch = 256
	syncBatch  = 64
	// syncsAtOnce is one less than the connections that leases have.
	syncsAtOnce = 2
	// callsAtOnce bounds the calls for secrets.
	callsAtOnce = 4
)

// New returns a manager that answers while Run does. gone is handed the attempts that Syncs prove to be lost; it must
// not block, because leases wait for it.
func New(store Store, definitions Definitions, hosts Hosts, secrets Secrets, gone func([]uuid.UUID), log *slog.Logger) *Manager {
	m := &Manager{store: store, definitions: definitions, hosts: hosts, given: secrets, gone: gone, log: log}
	m.secrets = batch.New(batch.Options{Max: claimBatch, Flushers: callsAtOnce}, m.resolve)
	m.claims = batch.New(batch.Options{Max: claimBatch}, m.claim)
	m.syncs = batch.New(batch.Options{Max: syncBatch, Flushers: syncsAtOnce}, m.sync)
	m.logs = batch.New(batch.Options{Max: claimBatch}, m.find(store.NoteUploads))
	m.places = batch.New(batch.Options{Max: claimBatch}, m.find(nil))
	return m
}

// Run works until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "claims", Run: m.claims.Run},
		run.Member{Name: "syncs", Run: m.syncs.Run},
		run.Member{Name: "secrets", Run: m.secrets.Run},
		run.Member{Name: "log places", Run: m.logs.Run},
		run.Member{Name: "places", Run: m.places.Run},
	)
}

// ClaimAgain is the reason why an attempt is not answered that finds no room beside what is claimed with it.
const ClaimAgain = "CLAIM_AGAIN"

// Claim answers with the work of an attempt.
func (m *Manager) Claim(ctx context.Context, c execution.Claim) (*Work, error) {
	x, err := m.claims.Do(ctx, c)
	if err != nil {
		return nil, err
	}
	if why := refusal(x, c); why != "" {
		return &Work{UID: c.UID, Refused: why}, nil
	}
	if x.Job.Cut && !strings.HasPrefix(x.Task.Method, "HTTP_") {
		return nil, errs.Unavailable(ClaimAgain, "too many long outputs are claimed at once; ask again")
	}
	w := &Work{UID: c.UID, Claimed: x, Timeout: timeout(x), Age: x.Job.Now.Sub(x.Began)}
	values, err := m.secretsOf(ctx, x)
	var task *plan.Task
	var env *environ.Env
	if err == nil {
		w.give(values)
		task, env, err = m.render(ctx, x, inClear(values), w.masker)
		err = w.masked(err)
	}
	if err == nil && !task.Skip {
		w.Inputs, w.Missing, err = m.inputs(ctx, c.UID, x, task, w.masker)
	}
	switch {
	case isFault(err):
		m.log.Warn("a claimed task cannot be rendered", "attempt", c.UID, "error", err)
		return &Work{UID: c.UID, Refused: "it cannot be rendered"}, m.end(ctx, x, engine.Outcome{
			State: engine.AttemptFailed, FailureClass: engine.ClassRejected, Message: err.Error(),
		})
	case err != nil:
		m.log.Warn("a claim cannot be answered now", "attempt", c.UID, "error", err)
		// The attempt is claimed and the same claim again gets the same answer.
		return nil, errs.Unavailable("WORK_UNAVAILABLE", "what task %s of %s needs from job-manager is not there yet", x.Task.Name, x.Job.JobType)
	case task.Skip:
		return &Work{UID: c.UID, Refused: "it is skipped by its condition"}, m.end(ctx, x, engine.Outcome{State: engine.AttemptSucceeded})
	}
	w.Spec, w.Environment = task.Spec, *env
	return w, nil
}

// isFault says that the task can never be rendered, whoever tries it and when.
func isFault(err error) bool {
	var bad source.Problems
	return errors.As(err, &bad) || errors.Is(err, definition.ErrFault) || errs.CodeOf(err) == errs.CodeNotFound
}

// Unfit ends the attempt of a work that no ant can be told of.
func (m *Manager) Unfit(ctx context.Context, w *Work, why error) error {
	why = w.masked(why)
	m.log.Warn("a claimed task cannot be handed out", "attempt", w.UID, "error", why)
	return m.end(ctx, w.Claimed, engine.Outcome{
		State: engine.AttemptFailed, FailureClass: engine.ClassRejected, Message: "it cannot be handed to an ant: " + why.Error(),
	})
}

// Later says why a claim was not answered, to an ant that will ask again.
func (m *Manager) Later(c execution.Claim, err error) string {
	if errs.CodeOf(err) != errs.CodeUnknown {
		return err.Error()
	}
	m.log.Warn("a claim cannot be answered now", "attempt", c.UID, "error", err)
	return "it cannot be answered now"
}

// keepTime bounds the renewal of attempts whose claim was not answered.
const keepTime = 2 * time.Second

// Keep is called when a claim could not be answered: its attempts may be claimed already. Their ant will ask again and
// must find them, though it cannot report them as running before.
func (m *Manager) Keep(ctx context.Context, claims []execution.Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	if err := m.store.Keep(ctx, claims); err != nil {
		m.log.Warn("unanswered claims were not kept", "attempts", len(claims), "error", err)
	}
}

// claim is the transaction of a batch.
func (m *Manager) claim(ctx context.Context, claims []execution.Claim) ([]*execution.Claimed, []error) {
	found, err := m.store.Claim(ctx, claims)
	if err != nil {
		return nil, batch.All(len(claims), err)
	}
	out := make([]*execution.Claimed, len(claims))
	for i, c := range claims {
		out[i] = found[c.UID]
	}
	return out, nil
}

// refusal says why an attempt must not run; empty when it must.
func refusal(x *execution.Claimed, c execution.Claim) string {
	switch {
	case x == nil || x.Job == nil:
		return "unknown attempt"
	case x.Ant != c.Ant:
		return "placed on another ant"
	case !x.Live():
		return "it has ended: " + string(x.State)
	case x.Session != c.Session:
		return "placed on another session of the ant"
	case x.Stopped:
		return "it was told to stop"
	}
	return ""
}

// timeout of the attempt: its own, or what is left of the task's.
func timeout(x *execution.Claimed) time.Duration {
	limit := x.Task.Timeout
	if x.Task.TotalTimeout > 0 && x.StartedAt != nil {
		left := max(x.StartedAt.Add(x.Task.TotalTimeout).Sub(x.Began), time.Second)
		if limit <= 0 || left < limit {
			limit = left
		}
	}
	return limit
}

// end ends an attempt that no ant has to run.
func (m *Manager) end(ctx context.Context, x *execution.Claimed, o engine.Outcome) error {
	_, err := m.store.Step(context.WithoutCancel(ctx), []execution.Event{{
		Kind: execution.AttemptEnded, UID: x.UID,
		End: execution.End{Ant: x.Ant, Outcome: o},
	}})
	return err
}
