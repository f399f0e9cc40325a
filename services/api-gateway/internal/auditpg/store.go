// Package auditpg keeps the audit log in PostgreSQL.
package auditpg

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
	"github.com/formicary/formicary/services/api-gateway/internal/auditpg/db"
)

// Store implements auditlog.Store.
type Store struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

// New returns a store on the schema identity.
func New(pool *pgxpool.Pool) *Store { return &Store{pool, db.New(pool)} }

func said(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// DigestKey implements auditlog.Store.
func (s *Store) DigestKey(ctx context.Context) ([]byte, error) {
	key, err := s.q.DigestKey(ctx)
	return key, said("read the key of digests", err)
}

// Begin implements auditlog.Store.
func (s *Store) Begin(ctx context.Context, intents []auditlog.Intent) error {
	var p db.BeginParams
	for _, i := range intents {
		p.Ids, p.Bodies = append(p.Ids, i.ID), append(p.Bodies, i.Body)
	}
	return said("store audit intents", s.q.Begin(ctx, p))
}

// Touch implements auditlog.Store.
func (s *Store) Touch(ctx context.Context, ids []uuid.UUID) error {
	return said("touch audit intents", s.q.Touch(ctx, ids))
}

// Seal implements auditlog.Store.
func (s *Store) Seal(ctx context.Context, ended []auditlog.Ended) (head auditlog.Head, err error) {
	err = pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := db.New(tx)
		at, err := q.LockHead(ctx)
		if err != nil {
			return said("lock the end of the audit log", err)
		}
		events, err := fresh(ctx, q, ended)
		if err != nil {
			return err
		}
		head, err = chain(ctx, q, auditlog.Head{Seq: at.Seq, Hash: at.Hash}, events)
		return err
	})
	return head, err
}

// fresh returns the events that are not in the chain yet, in the order of their times.
func fresh(ctx context.Context, q *db.Queries, ended []auditlog.Ended) ([]*auditlog.Event, error) {
	var stored, others []uuid.UUID
	for _, e := range ended {
		if e.Stored {
			stored = append(stored, e.Event.ID)
		} else {
			others = append(others, e.Event.ID)
		}
	}
	// Also those whose intents seemed not to be stored: a commit whose answer was lost is one.
	rows, err := q.Take(ctx, append(slices.Clone(stored), others...))
	if err != nil {
		return nil, said("take audit intents", err)
	}
	begun := make(map[uuid.UUID]time.Time, len(rows))
	for _, r := range rows {
		begun[r.ID] = r.At
	}
	sealed := map[uuid.UUID]bool{}
	if len(others) > 0 {
		ids, err := q.Sealed(ctx, others)
		if err != nil {
			return nil, said("find sealed audit events", err)
		}
		for _, id := range ids {
			sealed[id] = true
		}
	}
	events := make([]*auditlog.Event, 0, len(ended))
	for _, e := range ended {
		at, had := begun[e.Event.ID]
		if !had && (e.Stored || sealed[e.Event.ID]) {
			continue
		}
		event := *e.Event // the transaction may be repeated
		if event.At = event.At.UTC().Truncate(time.Microsecond); had {
			event.At = at.UTC()
		}
		events = append(events, &event)
	}
	slices.SortStableFunc(events, func(a, b *auditlog.Event) int { return a.At.Compare(b.At) })
	return events, nil
}

// chain appends the events behind the head that is locked.
func chain(ctx context.Context, q *db.Queries, head auditlog.Head, events []*auditlog.Event) (auditlog.Head, error) {
	if len(events) == 0 {
		return head, nil
	}
	before, err := digests(ctx, q, events)
	if err != nil {
		return head, err
	}
	head = auditlog.Chain(head, events, before)
	var rows db.AddEventsParams
	for _, e := range events {
		rows.Seq, rows.ID, rows.At = append(rows.Seq, e.Seq), append(rows.ID, e.ID), append(rows.At, e.At)
		rows.OrgID, rows.Actor, rows.ActorKind = append(rows.OrgID, e.Org), append(rows.Actor, e.Actor), append(rows.ActorKind, e.ActorKind)
		rows.Credential, rows.Method, rows.Permission = append(rows.Credential, e.Credential), append(rows.Method, e.Method), append(rows.Permission, e.Permission)
		rows.ObjectKind, rows.ObjectID = append(rows.ObjectKind, e.ObjectKind), append(rows.ObjectID, e.ObjectID)
		rows.RequestDigest, rows.BeforeDigest = append(rows.RequestDigest, full(e.RequestDigest)), append(rows.BeforeDigest, full(e.BeforeDigest))
		rows.AfterDigest, rows.Address = append(rows.AfterDigest, full(e.AfterDigest)), append(rows.Address, e.Address)
		rows.RequestID, rows.Agent, rows.Outcome = append(rows.RequestID, e.RequestID), append(rows.Agent, e.Agent), append(rows.Outcome, string(e.Outcome))
		rows.Code, rows.Reason, rows.TookUs = append(rows.Code, e.Code), append(rows.Reason, e.Reason), append(rows.TookUs, e.Took.Microseconds())
		rows.PrevHash, rows.Hash = append(rows.PrevHash, e.PrevHash), append(rows.Hash, e.Hash)
	}
	if err := q.AddEvents(ctx, rows); err != nil {
		return head, said("append to the audit log", err)
	}
	return head, said("move the end of the audit log", q.MoveHead(ctx, db.MoveHeadParams{Seq: head.Seq, Hash: head.Hash}))
}

// full makes a nil digest an empty one: the columns are not null.
func full(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// digests returns those that the objects of events had last.
func digests(ctx context.Context, q *db.Queries, events []*auditlog.Event) (map[auditlog.Object][]byte, error) {
	before := map[auditlog.Object][]byte{}
	var p db.BeforeParams
	for _, e := range events {
		o := e.Object()
		if _, seen := before[o]; seen || len(e.AfterDigest) == 0 {
			continue
		}
		before[o] = nil
		p.Orgs, p.Kinds, p.Ids = append(p.Orgs, o.Org), append(p.Kinds, o.Kind), append(p.Ids, o.ID)
	}
	if len(p.Ids) == 0 {
		return before, nil
	}
	rows, err := q.Before(ctx, p)
	for _, r := range rows {
		before[auditlog.Object{Org: r.OrgID, Kind: r.Kind, ID: r.ID}] = r.AfterDigest
	}
	return before, said("read the digests of objects", err)
}

// SealAbandoned implements auditlog.Store.
func (s *Store) SealAbandoned(ctx context.Context, age time.Duration) (n int, head auditlog.Head, err error) {
	err = pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := db.New(tx)
		at, err := q.LockHead(ctx)
		if err != nil {
			return said("lock the end of the audit log", err)
		}
		rows, err := q.TakeAbandoned(ctx, pgtype.Interval{Microseconds: age.Microseconds(), Valid: true})
		if err != nil {
			return said("take abandoned audit intents", err)
		}
		events := make([]*auditlog.Event, len(rows))
		for i, r := range rows {
			events[i] = &auditlog.Event{}
			if err := json.Unmarshal(r.Body, events[i]); err != nil {
				return fmt.Errorf("read the audit intent %s: %w", r.ID, err)
			}
			events[i].ID, events[i].At, events[i].Outcome, events[i].Code = r.ID, r.At.UTC(), auditlog.Unknown, "UNKNOWN"
		}
		slices.SortStableFunc(events, func(a, b *auditlog.Event) int { return a.At.Compare(b.At) })
		n = len(events)
		head, err = chain(ctx, q, auditlog.Head{Seq: at.Seq, Hash: at.Hash}, events)
		return err
	})
	return n, head, err
}

// Head implements auditlog.Store.
func (s *Store) Head(ctx context.Context) (auditlog.Head, error) {
	h, err := s.q.Head(ctx)
	return auditlog.Head{Seq: h.Seq, Hash: h.Hash}, said("read the end of the audit log", err)
}

// Page implements auditlog.Store. The chain is that of all organisations, whoever has it verified.
func (s *Store) Page(ctx context.Context, after int64, limit int) ([]*auditlog.Event, error) {
	rows, err := s.q.Page(pgdb.OwnWork(ctx), db.PageParams{After: after, MaxRows: int32(limit)})
	events := make([]*auditlog.Event, len(rows))
	for i, r := range rows {
		events[i] = event(r)
	}
	return events, said("read the audit log", err)
}

func event(r db.AuditEvent) *auditlog.Event {
	return &auditlog.Event{
		Seq: r.Seq, ID: r.ID, At: r.At.UTC(), Org: r.OrgID, Actor: r.Actor, ActorKind: r.ActorKind, Credential: r.Credential, Method: r.Method,
		Permission: r.Permission, ObjectKind: r.ObjectKind, ObjectID: r.ObjectID, RequestDigest: r.RequestDigest, BeforeDigest: r.BeforeDigest,
		AfterDigest: r.AfterDigest, Address: r.Address, RequestID: r.RequestID, Agent: r.Agent, Outcome: auditlog.Outcome(r.Outcome), Code: r.Code,
		Reason: r.Reason, Took: time.Duration(r.TookUs) * time.Microsecond, PrevHash: r.PrevHash, Hash: r.Hash,
	}
}

// Checkpoints implements auditlog.Store.
func (s *Store) Checkpoints(ctx context.Context, after int64, limit int) ([]auditlog.Checkpoint, error) {
	rows, err := s.q.Checkpoints(ctx, db.CheckpointsParams{After: after, MaxRows: int32(limit)})
	marks := make([]auditlog.Checkpoint, len(rows))
	for i, r := range rows {
		marks[i] = auditlog.Checkpoint{Head: auditlog.Head{Seq: r.Seq, Hash: r.Hash}, At: r.At, Certificate: r.Certificate, Signature: r.Signature}
	}
	return marks, said("read the signed ends of the audit log", err)
}

// LastCheckpoint implements auditlog.Store.
func (s *Store) LastCheckpoint(ctx context.Context) (int64, error) {
	seq, err := s.q.LastCheckpoint(ctx)
	return seq, said("read the last signed end of the audit log", err)
}

// AddCheckpoint implements auditlog.Store.
func (s *Store) AddCheckpoint(ctx context.Context, c auditlog.Checkpoint) error {
	return said("store a signed end of the audit log", s.q.AddCheckpoint(ctx, db.AddCheckpointParams{
		Seq: c.Seq, Hash: c.Hash, At: c.At, Certificate: c.Certificate, Signature: c.Signature,
	}))
}
