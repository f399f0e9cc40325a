package pg

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// Attempt implements login.Attempts.
func (s *Store) Attempt(ctx context.Context, keys []string, now time.Time, f func([]login.Failures) error) error {
	return s.tx(ctx, "count an attempt", func(q *db.Queries) error {
		if err := q.EnsureAttempts(ctx, db.EnsureAttemptsParams{Keys: keys, Now: now}); err != nil {
			return err
		}
		rows, err := q.LockAttempts(ctx, keys)
		if err != nil {
			return err
		}
		have := map[string]db.Attempt{}
		for _, r := range rows {
			have[r.Key] = r
		}
		failures := make([]login.Failures, len(keys))
		for i, key := range keys {
			failures[i] = login.Failures{Count: int(have[key].Failures), LastAt: have[key].LastAt, Until: have[key].Until}
		}
		if err := f(failures); err != nil {
			return err
		}
		for i, key := range keys {
			err := q.SetAttempt(ctx, db.SetAttemptParams{Key: key, Failures: int32(failures[i].Count), LastAt: failures[i].LastAt, Until: failures[i].Until})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// AddSession implements login.Sessions.
func (s *Store) AddSession(ctx context.Context, n login.Session, hash []byte) error {
	return s.tx(ctx, "store a session", func(q *db.Queries) error {
		id, err := active(ctx, q, n.User)
		if err != nil {
			return err
		}
		return q.InsertSession(ctx, db.InsertSessionParams{
			ID: n.ID, SecretHash: hash, PersonID: id, Kind: string(n.Kind), Method: n.Method, Address: n.Address, Agent: n.Agent,
			CreatedAt: n.CreatedAt, Idle: int32(n.Idle / time.Second), ExpiresAt: n.ExpiresAt,
		})
	})
}

// Sessions implements login.Sessions.
func (s *Store) Sessions(ctx context.Context, user string, now time.Time) ([]login.Session, error) {
	rows, err := s.q.SessionsOf(ctx, db.SessionsOfParams{Name: user, Now: now})
	return each(rows, func(r db.SessionsOfRow) login.Session {
		return login.Session{
			ID: r.ID, User: r.Name, Kind: login.Kind(r.Kind), Method: r.Method, Address: r.Address, Agent: r.Agent,
			CreatedAt: r.CreatedAt, LastSeenAt: r.LastSeenAt, ExpiresAt: r.ExpiresAt, Idle: time.Duration(r.Idle) * time.Second,
		}
	}), said("list sessions", err)
}

// EndSession implements login.Sessions.
func (s *Store) EndSession(ctx context.Context, user string, id uuid.UUID) (bool, error) {
	n, err := s.q.EndSession(ctx, db.EndSessionParams{ID: id, Name: user})
	return n > 0, said("end a session", err)
}

// EndSessions implements login.Sessions.
func (s *Store) EndSessions(ctx context.Context, user string) (int, error) {
	id, err := person(ctx, s.q, user)
	if err != nil {
		return 0, said("end sessions", err)
	}
	n, err := s.q.EndSessions(ctx, id)
	return int(n), said("end sessions", err)
}

// SetBootstrap implements login.Bootstraps.
func (s *Store) SetBootstrap(ctx context.Context, hash []byte, expires time.Time) (needed bool, err error) {
	err = s.tx(ctx, "store a bootstrap code", func(q *db.Queries) error {
		n, err := q.PlatformAdmins(ctx)
		if needed = n == 0; err != nil || !needed {
			return err
		}
		return q.SetBootstrap(ctx, db.SetBootstrapParams{CodeHash: hash, ExpiresAt: expires})
	})
	return needed, err
}

// UseBootstrap implements login.Bootstraps.
func (s *Store) UseBootstrap(ctx context.Context, hash []byte, now time.Time, u identity.User) error {
	return s.tx(ctx, "use a bootstrap code", func(q *db.Queries) error {
		// Taking the row locks it: of two at once one finds it gone.
		taken, err := q.TakeBootstrap(ctx, db.TakeBootstrapParams{CodeHash: hash, Now: now})
		if err != nil {
			return err
		}
		admins, err := q.PlatformAdmins(ctx)
		if err != nil {
			return err
		}
		if taken == 0 || admins > 0 {
			return login.BadBootstrap()
		}
		if err := insertPerson(ctx, q, u); err != nil {
			return err
		}
		return insertMember(ctx, q, identity.Member{Org: identity.DefaultOrg, User: u.Name, Role: identity.OrgAdmin, Groups: []string{}, AddedAt: now, AddedBy: u.Name})
	})
}

// AddPending implements login.Pendings.
func (s *Store) AddPending(ctx context.Context, hash, userHash []byte, p login.Pending) error {
	return s.tx(ctx, "store a login that waits", func(q *db.Queries) error {
		var who *uuid.UUID
		if p.User != "" {
			id, err := person(ctx, q, p.User)
			if err != nil {
				return err
			}
			who = &id
		}
		return q.InsertPendingLogin(ctx, db.InsertPendingLoginParams{
			SecretHash: hash, UserCodeHash: userHash, Challenge: p.Challenge, PersonID: who, Address: p.Address, Agent: p.Agent,
			CreatedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt,
		})
	})
}

// Decide implements login.Pendings.
func (s *Store) Decide(ctx context.Context, userHash []byte, user string, approve bool, now time.Time) (login.Pending, error) {
	var p login.Pending
	err := s.tx(ctx, "decide on a login that waits", func(q *db.Queries) error {
		row, err := q.PendingByUserCode(ctx, db.PendingByUserCodeParams{UserCodeHash: userHash, Now: now})
		if err != nil {
			return found(err, login.BadLoginCode())
		}
		if p, err = toPending(ctx, q, row); err != nil {
			return err
		}
		var who *uuid.UUID
		if approve {
			id, err := person(ctx, q, user)
			if err != nil {
				return err
			}
			who = &id
		}
		return q.DecidePending(ctx, db.DecidePendingParams{SecretHash: row.SecretHash, PersonID: who, Denied: !approve})
	})
	return p, err
}

// UserPending implements login.Pendings.
func (s *Store) UserPending(ctx context.Context, userHash []byte, now time.Time) (login.Pending, error) {
	row, err := s.q.PeekUserCode(ctx, db.PeekUserCodeParams{UserCodeHash: userHash, Now: now})
	if err != nil {
		return login.Pending{}, said("read a login that waits", found(err, login.BadLoginCode()))
	}
	return toPending(ctx, s.q, row)
}

// TakePending implements login.Pendings.
func (s *Store) TakePending(ctx context.Context, hash []byte, now time.Time, keep func(login.Pending) bool) (login.Pending, error) {
	var p login.Pending
	err := s.tx(ctx, "take a login that waits", func(q *db.Queries) error {
		row, err := q.PendingLogin(ctx, db.PendingLoginParams{SecretHash: hash, Now: now})
		if err != nil {
			return found(err, login.BadLoginCode())
		}
		if p, err = toPending(ctx, q, row); err != nil || keep(p) {
			return err
		}
		return q.DeletePending(ctx, hash)
	})
	return p, err
}

func toPending(ctx context.Context, q *db.Queries, r db.PendingLogin) (login.Pending, error) {
	p := login.Pending{Challenge: r.Challenge, Denied: r.Denied, Address: r.Address, Agent: r.Agent, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt}
	if r.PersonID == nil {
		return p, nil
	}
	who, err := q.PersonByID(ctx, *r.PersonID)
	p.User = who.Name
	return p, err
}
