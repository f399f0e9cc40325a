package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

const (
	// deliverSQL stores what is not stored yet: the id says what is told, and to whom.
	deliverSQL = `
INSERT INTO delivery (id, org_id, request_id, run, task, channel, recipient, host, subject, target, message)
SELECT n.id, n.org_id, n.request_id, n.run, n.task, n.channel, n.recipient, n.host, n.subject, n.target::json, n.message::json
FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS org_id, unnest($3::uuid[]) AS request_id, unnest($4::int[]) AS run, unnest($5::text[]) AS task,
    unnest($6::text[]) AS channel, unnest($7::text[]) AS recipient, unnest($8::text[]) AS host, unnest($9::text[]) AS subject,
    unnest($10::text[]) AS target, unnest($11::text[]) AS message) n
ORDER BY n.id
ON CONFLICT (id) DO NOTHING`

	// failedBeforeSQL looks at the newest of what was submitted before and ran to an end.
	failedBeforeSQL = `
SELECT n.id FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS org_id, unnest($3::text[]) AS job_type) n
CROSS JOIN LATERAL (
    SELECT p.state FROM (
        (SELECT r.id, r.state FROM request r
            WHERE r.org_id = n.org_id AND r.job_type = n.job_type AND r.state = 'COMPLETED' AND r.id < n.id ORDER BY r.id DESC LIMIT 1)
        UNION ALL
        (SELECT r.id, r.state FROM request r
            WHERE r.org_id = n.org_id AND r.job_type = n.job_type AND r.state = 'FAILED' AND r.id < n.id ORDER BY r.id DESC LIMIT 1)) p
    ORDER BY p.id DESC LIMIT 1) last
WHERE last.state = 'FAILED'`
)

// heardMove is a move that somebody hears of.
type heardMove struct {
	rec      request.Record
	audience plan.Audience
}

// announce stores what is to be told of moves, in their transaction, and says whether there is anything. Moves of jobs that
// nobody hears of cost nothing here.
func announce(ctx context.Context, p *pgdb.Pipeline, moves []notify.Move) (told bool, err error) {
	heard, err := listen(ctx, p, moves)
	if err != nil || len(heard) == 0 {
		return false, err
	}
	failed, err := failedBefore(ctx, p, heard)
	if err != nil {
		return false, err
	}
	var all []notify.Delivery
	for i := range heard {
		t := &heard[i]
		all = append(all, notify.OfJob(&t.rec, t.audience, failed[t.rec.ID])...)
	}
	if len(all) == 0 {
		return false, nil
	}
	args, err := deliveryArgs(all)
	if err != nil {
		return false, err
	}
	p.Queue(deliverSQL, args...)
	return true, nil
}

// listen finds who hears of the moves. Of a job that was never launched its definition knows.
func listen(ctx context.Context, p *pgdb.Pipeline, moves []notify.Move) ([]heardMove, error) {
	said := map[uuid.UUID][]byte{}
	var ids []uuid.UUID
	for i := range moves {
		if m := &moves[i]; m.Announced() && m.BeforeLaunch() {
			ids = append(ids, m.After.DefinitionID)
		}
	}
	if len(ids) > 0 {
		p.Queue(`SELECT id, audience FROM definition WHERE id = ANY($1::uuid[]) AND audience IS NOT NULL`, ids).Query(func(rows pgx.Rows) error {
			var id uuid.UUID
			var text []byte
			_, err := pgx.ForEachRow(rows, []any{&id, &text}, func() error {
				said[id] = append([]byte{}, text...)
				return nil
			})
			return err
		})
		if err := p.Flush(ctx); err != nil {
			return nil, err
		}
	}
	var out []heardMove
	for i := range moves {
		m := &moves[i]
		text := []byte(m.After.Audience)
		if m.BeforeLaunch() {
			text = said[m.After.DefinitionID]
		}
		if !m.Announced() || text == nil {
			continue
		}
		t := heardMove{rec: m.After}
		if err := json.Unmarshal(text, &t.audience); err != nil {
			continue // written by another version: it must not keep the request from moving
		}
		out = append(out, t)
	}
	return out, nil
}

// failedBefore finds the successes that follow a failure.
func failedBefore(ctx context.Context, p *pgdb.Pipeline, heard []heardMove) (map[uuid.UUID]bool, error) {
	var ids []uuid.UUID
	var orgs, types []string
	for i := range heard {
		if rec := &heard[i].rec; notify.NeedsPrevious(rec, heard[i].audience) {
			ids, orgs, types = append(ids, rec.ID), append(orgs, rec.OrgID), append(types, rec.JobType)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	failed := map[uuid.UUID]bool{}
	p.Queue(failedBeforeSQL, ids, orgs, types).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { failed[id] = true; return nil })
		return err
	})
	return failed, p.Flush(ctx)
}

func encodeAudience(a plan.Audience) ([]byte, error) {
	if a.Empty() {
		return nil, nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode the audience: %w", err)
	}
	return text, nil
}

func deliveryArgs(all []notify.Delivery) ([]any, error) {
	type delivery = notify.Delivery
	targets, messages := make([]string, len(all)), make([]string, len(all))
	for i := range all {
		target, err := json.Marshal(all[i].Target)
		if err != nil {
			return nil, fmt.Errorf("encode a target: %w", err)
		}
		message, err := json.Marshal(all[i].Message)
		if err != nil {
			return nil, fmt.Errorf("encode a message: %w", err)
		}
		targets[i], messages[i] = string(target), string(message)
	}
	return []any{
		column(all, func(d delivery) uuid.UUID { return d.ID }),
		column(all, func(d delivery) string { return d.Message.OrgID }),
		column(all, func(d delivery) uuid.UUID { return d.Message.RequestID }),
		column(all, func(d delivery) int32 { return int32(d.Message.Run) }),
		column(all, func(d delivery) string { return d.Message.Task }),
		column(all, func(d delivery) string { return d.Channel }),
		column(all, func(d delivery) string { return d.Recipient }),
		column(all, func(d delivery) string { return d.Host }),
		column(all, func(d delivery) string { return d.Subject }),
		targets, messages,
	}, nil
}

// Deliveries implements notify.Store.
type Deliveries struct{ s *Store }

// Deliveries returns the store of what is told.
func (s *Store) Deliveries() *Deliveries { return &Deliveries{s} }

// Add stores deliveries that are not stored yet.
func (d *Deliveries) Add(ctx context.Context, all []notify.Delivery) error {
	args, err := deliveryArgs(all)
	if err != nil {
		return err
	}
	if _, err := d.s.pool.Exec(ctx, deliverSQL, args...); err != nil {
		return fmt.Errorf("store %d deliveries: %w", len(all), err)
	}
	d.s.OnDelivery()
	return nil
}

// Due implements notify.Store.
func (d *Deliveries) Due(ctx context.Context, t notify.Take) ([]notify.Delivery, error) {
	rows, err := d.s.q.DueDeliveries(ctx, db.DueDeliveriesParams{
		Lease: interval(t.Lease), Busy: t.Busy, PerHost: int32(t.PerHost), Page: int32(t.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("take deliveries: %w", err)
	}
	out := make([]notify.Delivery, len(rows))
	for i := range rows {
		out[i] = toDelivery(&rows[i].Delivery)
	}
	return out, nil
}

func interval(d time.Duration) pgtype.Interval {
	return pgtype.Interval{Microseconds: d.Microseconds(), Valid: true}
}

func toDelivery(r *db.Delivery) notify.Delivery {
	d := notify.Delivery{
		ID: r.ID, Channel: r.Channel, Recipient: r.Recipient, Host: r.Host, Subject: r.Subject, State: notify.State(r.State),
		Attempts: int(r.Attempts), Error: r.Error, CreatedAt: r.CreatedAt, NextAt: r.NextAt, EndedAt: r.SettledAt,
	}
	d.Broken = errors.Join(json.Unmarshal(r.Target, &d.Target), json.Unmarshal(r.Message, &d.Message))
	return d
}

// Next implements notify.Store.
func (d *Deliveries) Next(ctx context.Context, busy []string) (time.Duration, error) {
	seconds, err := d.s.q.NextDelivery(ctx, busy)
	if err != nil {
		return 0, fmt.Errorf("find the next delivery: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// SaveOutcomes implements notify.Store.
func (d *Deliveries) SaveOutcomes(ctx context.Context, outcomes []notify.Outcome) error {
	type outcome = notify.Outcome
	err := d.s.q.SaveOutcomes(ctx, db.SaveOutcomesParams{
		Ids:      column(outcomes, func(o outcome) uuid.UUID { return o.ID }),
		Attempts: column(outcomes, func(o outcome) int32 { return int32(o.Attempt) }),
		States:   column(outcomes, func(o outcome) string { return string(o.State) }),
		Errors:   column(outcomes, func(o outcome) string { return o.Error }),
		Pauses:   column(outcomes, func(o outcome) int64 { return o.Pause.Milliseconds() }),
	})
	if err != nil {
		return fmt.Errorf("store how %d deliveries ended: %w", len(outcomes), err)
	}
	return nil
}

// Forget implements notify.Store.
func (d *Deliveries) Forget(ctx context.Context, kept time.Duration, limit int) (int, error) {
	n, err := d.s.q.ForgetDeliveries(ctx, db.ForgetDeliveriesParams{Kept: interval(kept), Page: int32(limit)})
	if err != nil {
		return 0, fmt.Errorf("delete old deliveries: %w", err)
	}
	return int(n), nil
}

// List returns a page of what is told of a request, newest first.
func (d *Deliveries) List(ctx context.Context, p notify.Page) ([]notify.Delivery, error) {
	rows, err := d.s.q.DeliveriesOf(ctx, db.DeliveriesOfParams{
		RequestID: p.RequestID, OrgID: p.OrgID, Before: p.Before, BeforeID: p.BeforeID, Page: int32(p.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries of request %s: %w", p.RequestID, err)
	}
	out := make([]notify.Delivery, len(rows))
	for i, r := range rows {
		out[i] = notify.Delivery{
			ID: r.ID, Channel: r.Channel, Recipient: r.Recipient, Subject: r.Subject, State: notify.State(r.State), Attempts: int(r.Attempts),
			Error: r.Error, CreatedAt: r.CreatedAt, NextAt: r.NextAt, EndedAt: r.SettledAt,
			Message: notify.Message{OrgID: p.OrgID, RequestID: r.RequestID, Run: int(r.Run), Task: r.Task},
		}
	}
	return out, nil
}
