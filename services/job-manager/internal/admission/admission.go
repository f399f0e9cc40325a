// Package admission is the border between the queue and the leading scheduler: a bounded picture of the queue, and the
// writes of a leader behind the fence of its epoch.
package admission

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Head is a request at the head of its queue.
type Head struct {
	ID             uuid.UUID
	Priority       int
	AgeAt          time.Time
	PlacementClass string
	// Resumed requests go on with a run that has begun, or keep what one before has completed.
	Resumed bool
}

// Type is a job type with due pending requests.
type Type struct {
	OrgID          string
	JobType        string
	MaxConcurrency int
	// Active counts its requests that are READY or EXECUTING; Holders are some of them.
	Active   int
	Holders  []string
	Disabled bool
	// Heads are the best of its queue; Pending is more than they are when there are others behind them.
	Heads   []Head
	Pending int
}

// Queue is a picture of what could be admitted.
type Queue struct {
	Types []Type
	// Loads counts the admitted requests of each placement class that have not started.
	Loads map[Load]int
	// Orgs are those with something waiting that may run a bounded number of requests.
	Orgs []Org
	// Now is the database's clock, NextDue the earliest start that lies ahead.
	Now     time.Time
	NextDue *time.Time
	// Next says that types follow, behind the last one.
	Next *Place
}

// Org is an organisation that has a quota of running requests.
type Org struct {
	ID      string
	Most    int64
	Running int64
}

// Load names what is counted together: the requests of a placement class in an organisation.
type Load struct{ OrgID, Class string }

// Place is one in the order of job types, or with a head one in the queue of that type.
type Place struct {
	OrgID, JobType string
	Head           Head
}

// Look says which part of the queue is wanted.
type Look struct {
	// HeadLimit is how many requests of each job type are returned at most.
	HeadLimit int
	// After is the type that the part begins behind; the first part without.
	After Place
	// Behind, if any, asks only for requests of these types that stand behind the place.
	Behind []Place
}

// Term is the beginning of a leader's time.
type Term struct {
	LeaderID  string
	ClusterID uint64
	Revision  int64
}

// Decision is what a leader writes after a pass.
type Decision struct {
	Epoch    int64
	LeaderID string
	Admit    []uuid.UUID
	// Gates replace all that are stored, unless they are Unchanged.
	Gates     []request.ClosedGate
	Unchanged bool
}

// Store keeps the queue and the fence.
type Store interface {
	// Begin starts a term with a higher epoch than every one before and waits for the writes of those.
	Begin(ctx context.Context, t Term) (epoch int64, err error)
	// Queue makes what is due visible and returns a bounded part of the picture.
	Queue(ctx context.Context, l Look) (Queue, error)
	// Admit stores a decision unless a newer epoch has begun: then current is false and nothing is stored. It returns
	// the requests that were still waiting.
	Admit(ctx context.Context, d Decision) (admitted []uuid.UUID, current bool, err error)
	// Refused counts a decision that came too late.
	Refused(ctx context.Context, d Decision) error
}

// Manager serves the scheduler.
type Manager struct{ store Store }

// NewManager returns a manager.
func NewManager(store Store) *Manager { return &Manager{store: store} }

// Begin starts a leader's term.
func (m *Manager) Begin(ctx context.Context, t Term) (int64, error) { return m.store.Begin(ctx, t) }

// Queue returns the picture of the queue.
func (m *Manager) Queue(ctx context.Context, l Look) (Queue, error) {
	return m.store.Queue(ctx, l)
}

// Admit stores a leader's decision. A leader whose time is over learns it as FENCED.
func (m *Manager) Admit(ctx context.Context, d Decision) ([]uuid.UUID, error) {
	admitted, current, err := m.store.Admit(ctx, d)
	if err != nil || current {
		return admitted, err
	}
	if err := m.store.Refused(ctx, d); err != nil {
		return nil, err
	}
	return nil, errs.Aborted("FENCED", "epoch %d of leader %s is over", d.Epoch, d.LeaderID)
}
