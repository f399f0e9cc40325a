package auditlog

import (
	"context"
	"time"
)

// Filter of events. Empty fields let all through.
type Filter struct {
	Org, Actor, Action, ObjectKind, ObjectID string
	Outcome                                  Outcome
	Since, Until                             time.Time
	// Before lists the newest before that place, After the oldest behind it; 0 begins at the end or the start.
	Before, After int64
	Oldest        bool
	Limit         int
	// Platform says that the caller is one of the platform, who sees the events of all orgs and of none.
	Platform bool
}

// List returns events of one org, or of all when f.Org is empty.
func (l *Log) List(ctx context.Context, f Filter) ([]*Event, error) { return l.o.Store.List(ctx, f) }

const exportPage = 1000

// Export hands out all events that a filter lets through and that are there now, the oldest first.
func (l *Log) Export(ctx context.Context, f Filter, page func([]*Event) error) error {
	head, err := l.o.Store.Head(ctx)
	if err != nil {
		return err
	}
	f.Oldest, f.Limit, f.Before = true, exportPage, head.Seq+1
	for {
		events, err := l.o.Store.List(ctx, f)
		if err != nil || len(events) == 0 {
			return err
		}
		if err := page(events); err != nil {
			return err
		}
		f.After = events[len(events)-1].Seq
	}
}
