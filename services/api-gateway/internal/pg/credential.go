package pg

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/people"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// Credentials implements people.Store. Whom a credential belongs to is asked before anybody acts in an organisation, and the answer
// holds for all of them: these statements see everything.
type Credentials struct{ *Store }

var _ people.Store = Credentials{}

// Session implements people.Store.
func (s Credentials) Session(ctx context.Context, hash []byte, now time.Time) (people.Facts, error) {
	rows, err := s.q.SessionCredential(pgdb.OwnWork(ctx), db.SessionCredentialParams{SecretHash: hash, Now: now})
	if err != nil || len(rows) == 0 {
		return people.Facts{}, unknown(err)
	}
	r := rows[0]
	f := people.Facts{
		ID: r.ID, Session: true, User: r.Name, PlatformRole: r.PlatformRole, DefaultOrg: r.DefaultOrg,
		ExpiresAt: r.ExpiresAt, Members: map[string]people.Membership{},
	}
	for _, r := range rows {
		if r.MemberOf != "" {
			f.Members[r.MemberOf] = people.Membership{Role: r.Role, Groups: r.Groups}
		}
	}
	return f, nil
}

// Token implements people.Store.
func (s Credentials) Token(ctx context.Context, hash []byte, now time.Time) (people.Facts, error) {
	rows, err := s.q.TokenCredential(pgdb.OwnWork(ctx), db.TokenCredentialParams{SecretHash: hash, Now: now})
	if err != nil || len(rows) == 0 {
		return people.Facts{}, unknown(err)
	}
	r := rows[0]
	f := people.Facts{
		ID: r.ID, User: r.Name, PlatformRole: r.PlatformRole, DefaultOrg: r.DefaultOrg, Org: r.OrgID, Scopes: r.Scopes,
		ExpiresAt: r.ExpiresAt, Members: map[string]people.Membership{},
	}
	for _, r := range rows {
		if r.MemberOf != "" {
			f.Members[r.MemberOf] = people.Membership{Role: r.Role, Groups: r.Groups}
		}
	}
	return f, nil
}

func unknown(err error) error {
	if err == nil {
		return people.Unknown()
	}
	return said("look a credential up", err)
}

// Touch implements people.Store.
func (s Credentials) Touch(ctx context.Context, sessions, tokens map[uuid.UUID]time.Time) error {
	if len(sessions) > 0 {
		ids, times := split(sessions)
		if err := s.q.TouchSessions(ctx, db.TouchSessionsParams{Ids: ids, Times: times}); err != nil {
			return said("store the last use of sessions", err)
		}
	}
	if len(tokens) > 0 {
		ids, times := split(tokens)
		if err := s.q.TouchTokens(ctx, db.TouchTokensParams{Ids: ids, Times: times}); err != nil {
			return said("store the last use of tokens", err)
		}
	}
	return nil
}

func split(m map[uuid.UUID]time.Time) (ids []uuid.UUID, times []time.Time) {
	for id, at := range m {
		ids, times = append(ids, id), append(times, at)
	}
	return ids, times
}

// The ages at which what is of no use any more is removed.
const (
	keepEnded    = 30 * 24 * time.Hour
	keepAttempts = 24 * time.Hour
)

// Sweep removes what has ended.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	return said("remove what has ended", s.q.Sweep(ctx, db.SweepParams{Now: now, Before: now.Add(-keepEnded), Forgotten: now.Add(-keepAttempts)}))
}
