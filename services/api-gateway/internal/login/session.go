package login

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// Kind of a session.
type Kind string

// The kinds.
const (
	Browser     Kind = "browser"
	CommandLine Kind = "cli"
)

// Life of sessions.
type Life struct {
	// Idle is how long one may be unused, Most its age.
	Idle, Most time.Duration
}

// Session is somebody who logged in.
type Session struct {
	ID     uuid.UUID
	User   string
	Kind   Kind
	Method string
	// Address and Agent say where from.
	Address, Agent                   string
	CreatedAt, LastSeenAt, ExpiresAt time.Time
	// Idle is how long it may be unused.
	Idle time.Duration
}

// From is where somebody logs in.
type From struct {
	Address, Agent string
	Kind           Kind
}

// Sessions keeps sessions.
type Sessions interface {
	AddSession(ctx context.Context, s Session, hash []byte) error
	// Sessions of a user that have not ended, the newest first.
	Sessions(ctx context.Context, user string, now time.Time) ([]Session, error)
	// EndSession ends one of a user and says whether there was one.
	EndSession(ctx context.Context, user string, id uuid.UUID) (bool, error)
	// EndSessions ends all of a user and returns how many there were.
	EndSessions(ctx context.Context, user string) (int, error)
}

const maxAgent = 200

// Open begins a session of a user who has proved to be one.
func (m *Manager) Open(ctx context.Context, user, method string, from From) (secret string, s Session, err error) {
	now := m.now()
	life := m.conf.Browser
	if from.Kind != Browser {
		from.Kind, life = CommandLine, m.conf.CommandLine
	}
	s = Session{
		ID: identity.NewID(), User: user, Kind: from.Kind, Method: method, Address: from.Address, Agent: from.Agent[:min(len(from.Agent), maxAgent)],
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(life.Most), Idle: life.Idle,
	}
	secret, hash := identity.NewSecret(identity.SessionPrefix)
	return secret, s, m.store.AddSession(ctx, s, hash)
}

// Sessions returns those of a user, the newest first.
func (m *Manager) Sessions(ctx context.Context, user string) ([]Session, error) {
	return m.store.Sessions(ctx, user, m.now())
}

// End ends a session.
func (m *Manager) End(ctx context.Context, user string, id uuid.UUID) error {
	found, err := m.store.EndSession(ctx, user, id)
	if err == nil && !found {
		return errs.NotFound("SESSION_NOT_FOUND", "%s has no session %s", user, id)
	}
	return m.change(err)
}

// EndAll ends all sessions of a user.
func (m *Manager) EndAll(ctx context.Context, user string) (int, error) {
	n, err := m.store.EndSessions(ctx, user)
	return n, m.change(err)
}
