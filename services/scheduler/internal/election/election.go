// Package election makes one of several processes the leader, by an election in etcd, and knows when it must stop
// believing so.
//
//	campaign ──won──▶ confirm ──own key is first──▶ lead ──ctx ends──▶ resign
//	   ▲                 │ phantom                    │ lease unsure, or lead returned
//	   └─────────────────┴────────────────────────────┘
//
// Leadership is advice: between two looks at the clock a process can be stopped for any time, so every write of a
// leader carries an epoch that the owner of the data checks. What this package promises is only that a term's context
// ends a second before the lease can have ended at etcd, by the local monotonic clock: at the sending of the last good
// keep-alive + TTL − 1 s.
package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/formicary/formicary/libs/run"
)

// ErrLeaseLost is the cause of a term's end when the lease could not be kept.
var ErrLeaseLost = errors.New("the leader's lease is lost")

// errPhantom: the campaign was won with a key that is gone.
var errPhantom = errors.New("won the election with a lease that has expired")

// Config of an elector.
type Config struct {
	// ID of this process.
	ID string
	// Prefix of the keys in etcd.
	Prefix string
	// TTL of the lease, whole seconds, at least 2 s.
	TTL time.Duration
	// TakeOver removes all candidates first. Only the sole member of a colony may say so.
	TakeOver bool
}

// Term is a time of leadership.
type Term struct {
	// ClusterID of etcd.
	ClusterID uint64
	// Revision at which the leader's key was created; it rises from term to term.
	Revision int64
}

// Elector campaigns.
type Elector struct {
	conf   Config
	client *clientv3.Client
	log    *slog.Logger
}

// New returns an elector.
func New(conf Config, client *clientv3.Client, log *slog.Logger) *Elector {
	return &Elector{conf: conf, client: client, log: log}
}

const (
	margin    = time.Second // before the end of the lease
	grantTime = 5 * time.Second
	lateBy    = time.Second // what resigning may take after the end
	pauseMin  = 50 * time.Millisecond
	pauseMax  = 2 * time.Second
	// steadyTerm is how long a term must have lasted for the next campaign to begin without a longer pause.
	steadyTerm = 5 * time.Second
)

// Run campaigns, leads and campaigns again until ctx ends; then it resigns. The context of a term ends when it is not
// sure that the lease still holds; context.Cause tells it by ErrLeaseLost.
func (e *Elector) Run(ctx context.Context, lead func(context.Context, Term) error) error {
	pause := pauseMin
	takeOver := e.conf.TakeOver
	for ctx.Err() == nil {
		began := time.Now()
		if err := run.Safely(ctx, func(ctx context.Context) error {
			if takeOver {
				if _, err := e.client.Delete(ctx, e.conf.Prefix+"/", clientv3.WithPrefix()); err != nil {
					return fmt.Errorf("remove earlier candidates: %w", err)
				}
				takeOver = false
			}
			return e.once(ctx, lead)
		}); ctx.Err() == nil {
			e.log.Warn("leadership ended", "id", e.conf.ID, "error", err)
		}
		if time.Since(began) > steadyTerm {
			pause = pauseMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
	}
	return nil
}

// once campaigns and leads one term.
func (e *Elector) once(parent context.Context, lead func(context.Context, Term) error) error {
	late, stop := after(parent, lateBy)
	defer stop()
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)

	lease, err := e.grant(ctx)
	if err != nil {
		return err
	}
	// The session and the election end what they began with the client's context; theirs must not outlast ours by long.
	client := clientv3.NewCtxClient(late)
	client.KV, client.Lease, client.Watcher = e.client.KV, e.client.Lease, e.client.Watcher
	session, err := concurrency.NewSession(client, concurrency.WithLease(lease.id), concurrency.WithContext(late))
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		end(e.keep(ctx, session, lease))
	}()
	defer func() {
		end(nil)
		<-kept
		_ = session.Close() // revokes the lease; one that cannot be revoked expires
	}()

	election := concurrency.NewElection(session, e.conf.Prefix)
	if err := election.Campaign(ctx, e.conf.ID); err != nil {
		return fmt.Errorf("campaign: %w", errOr(context.Cause(ctx), err))
	}
	term, err := e.confirm(ctx, election, lease)
	if err != nil {
		return err
	}
	e.log.Info("leading", "id", e.conf.ID, "revision", term.Revision)
	err = lead(ctx, term)
	if rerr := election.Resign(late); rerr != nil {
		e.log.Warn("could not resign, the lease will end by itself", "error", rerr)
	}
	return err
}

// lease and the latest time by which etcd surely has it.
type lease struct {
	id    clientv3.LeaseID
	until time.Time
}

func (e *Elector) grant(ctx context.Context) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, grantTime)
	defer cancel()
	sent := time.Now()
	res, err := e.client.Grant(ctx, int64(e.conf.TTL/time.Second))
	if err != nil {
		return lease{}, fmt.Errorf("grant lease: %w", err)
	}
	return lease{id: res.ID, until: sent.Add(e.conf.TTL - margin)}, nil
}

// keep renews the lease until ctx ends and returns why it could not any longer. The session renews it too, but does
// not tell when it asked.
func (e *Elector) keep(ctx context.Context, session *concurrency.Session, l lease) error {
	every := time.NewTicker(max((e.conf.TTL-margin)/4, 100*time.Millisecond))
	defer every.Stop()
	for {
		ask, cancel := context.WithDeadline(ctx, l.until)
		sent := time.Now()
		_, err := e.client.KeepAliveOnce(ask, l.id)
		cancel()
		if err == nil {
			l.until = sent.Add(e.conf.TTL - margin)
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Now().After(l.until) || errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return fmt.Errorf("%w: %w", ErrLeaseLost, errOr(err, context.DeadlineExceeded))
		}
		expire := time.NewTimer(time.Until(l.until))
		select {
		case <-ctx.Done():
			expire.Stop()
			return nil
		case <-session.Done():
			expire.Stop()
			return ErrLeaseLost
		case <-expire.C:
			return ErrLeaseLost
		case <-every.C:
			expire.Stop()
		}
	}
}

// confirm re-reads the election: a candidate whose lease expired while it waited is told that it won, because nobody
// is before a key that does not exist.
func (e *Elector) confirm(ctx context.Context, election *concurrency.Election, l lease) (Term, error) {
	ctx, cancel := context.WithTimeout(ctx, e.conf.TTL)
	defer cancel()
	first, err := e.client.Get(ctx, e.conf.Prefix+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return Term{}, fmt.Errorf("re-read the election: %w", err)
	}
	if len(first.Kvs) == 0 || string(first.Kvs[0].Key) != election.Key() ||
		first.Kvs[0].CreateRevision != election.Rev() || first.Kvs[0].Lease != int64(l.id) {
		return Term{}, errPhantom
	}
	return Term{ClusterID: first.Header.GetClusterId(), Revision: election.Rev()}, nil
}

// after returns a context that ends a little later than parent, for what must still be said then.
func after(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		cancel()
	})
	return ctx, func() { stop(); cancel() }
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
