// Package session keeps an ant known to the colony. Two beats of their own: Heartbeat to resource-manager decides
// whether the ant gets work, Sync to supervisor decides whether its attempts live.
//
// Without a good Sync for a while the ant ends its own tasks, before supervisor may start them elsewhere; see fence.go.
package session

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

// Attempts are what the session speaks for.
type Attempts interface {
	// Begin starts to use a session, SessionAccepted says that supervisor has accepted it.
	Begin(session string)
	SessionAccepted()
	// Running, then Spooled, list what Sync reports.
	Running() []string
	Spooled() []string
	// Cancel, Settled and Resend are what the answer to Sync asks for.
	Cancel(uids []string)
	Settled(uids []string) error
	Resend(now time.Time) error
	// Kill ends everything and lets nothing begin until Open.
	Kill(why string)
	Open()
	// Disown is Kill for good: another ant has the id, and speaks for what it has claimed.
	Disown(why string)
	// Shut lets nothing begin until Open; what runs goes on.
	Shut()
}

// Options of the session.
type Options struct {
	// Ant is how the ant registers.
	Ant *antv1.RegisterRequest
	// Beat is the interval of Heartbeat and Sync, varied by 20 %.
	Beat time.Duration
	// FenceAfter is how long the ant keeps its tasks without a good Sync.
	FenceAfter time.Duration
	// Unhealthy lists methods that cannot be executed now.
	Unhealthy func() []string
	// Unreachable says why doorbells do not reach the ant; empty when they do.
	Unreachable func() string
	// Heard counts the claims that were answered.
	Heard func() int64
	// LastGood is when an earlier life of the ant sent its last good Sync, of which tasks go on; zero when there are none.
	LastGood time.Time
	// Synced is told when each good Sync was sent; nil is not.
	Synced func(sent time.Time)
}

// Session is the ant's standing in the colony.
type Session struct {
	opts       Options
	rm         antv1.RegistrationServiceClient
	supervisor antv1.AttemptServiceClient
	attempts   Attempts
	log        *slog.Logger
	clock      func() time.Time

	registered chan struct{} // closed by the first registration
	ready      chan struct{} // closed by the first good Sync
	beatNow    run.Signal
	syncNow    run.Signal
	again      run.Signal // register again
	good       run.Signal // a Sync was good
	gate       sync.Mutex // held while the fence closes or opens: the attempts must see it in the order of fenced

	mu       sync.Mutex
	id       string
	number   int64
	first    bool      // the next Sync is the first of this session
	renewing bool      // a registration is under way, which may have ended the session already
	lastGood time.Time // when the last good Sync was sent
	draining bool      // the ant ends
	resting  bool      // an operator wants it to take no more work; it stays
	fenced   bool
}

// New returns a session that Run opens.
func New(o Options, rm antv1.RegistrationServiceClient, supervisor antv1.AttemptServiceClient, attempts Attempts, log *slog.Logger) *Session {
	return &Session{
		opts: o, rm: rm, supervisor: supervisor, attempts: attempts, log: log, clock: time.Now,
		lastGood: o.LastGood, registered: make(chan struct{}), ready: make(chan struct{}), beatNow: run.NewSignal(), syncNow: run.NewSignal(), again: run.NewSignal(), good: run.NewSignal(),
	}
}

// Ready is closed when supervisor knows the session: then work may be taken.
func (s *Session) Ready() <-chan struct{} { return s.ready }

const (
	callTime   = 5 * time.Second
	firstRetry = 100 * time.Millisecond
	maxRetry   = 5 * time.Second
	superseded = "SESSION_SUPERSEDED"
	unknown    = "ANT_UNKNOWN"
	shutOut    = passport.RevokedReason
)

// Run registers and keeps the session until ctx ends. It fails when another ant has taken the id, or the ant was shut out;
// then everything that ran here has been killed.
func (s *Session) Run(ctx context.Context) error {
	if !s.opts.LastGood.IsZero() { // what goes on must not wait for the registration to be ended
		return run.Group(ctx, run.Member{Name: "fence", Run: s.fence}, run.Member{Name: "keep", Run: func(ctx context.Context) error { return s.keep(ctx) }})
	}
	return s.keep(ctx, run.Member{Name: "fence", Run: s.fence})
}

// keep registers and keeps the session, and runs what else it takes.
func (s *Session) keep(ctx context.Context, more ...run.Member) error {
	if err := s.register(ctx); err != nil {
		return err
	}
	return run.Group(ctx, append(more,
		run.Member{Name: "heartbeat", Run: func(ctx context.Context) error { return s.beats(ctx, s.beatNow, s.heartbeat) }},
		run.Member{Name: "sync", Run: func(ctx context.Context) error { return s.beats(ctx, s.syncNow, s.sync) }},
		run.Member{Name: "register", Run: s.reregister},
	)...)
}

// register opens a session and tries until it has one. It is the same in all tries: one that was not answered may arrive
// after its successor, and must not supersede that.
func (s *Session) register(ctx context.Context) error {
	ask := proto.CloneOf(s.opts.Ant)
	ask.Session = uuid.NewString()
	for retry := firstRetry; ; retry = min(2*retry, maxRetry) {
		call, cancel := context.WithTimeout(ctx, callTime)
		res, err := s.rm.Register(call, ask)
		cancel()
		if err == nil {
			s.open(res)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errs.CodeOf(err) == errs.CodeInvalid || errs.Reason(err) == shutOut {
			return fmt.Errorf("register ant %s: %w", s.opts.Ant.GetAntId(), err)
		}
		s.log.Warn("not registered yet", "ant", s.opts.Ant.GetAntId(), "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(vary(retry)):
		}
	}
}

func (s *Session) open(res *antv1.RegisterResponse) {
	s.mu.Lock()
	if s.id == "" {
		close(s.registered)
	}
	s.id, s.number, s.first, s.renewing = res.GetSession(), res.GetGeneration(), true, false
	if s.lastGood.IsZero() {
		s.lastGood = s.clock()
	}
	s.mu.Unlock()
	s.attempts.Begin(res.GetSession())
	s.log.Info("registered", "ant", s.opts.Ant.GetAntId(), "generation", res.GetGeneration())
}

// reregister opens a new session when resource-manager has forgotten the ant. What runs goes on: the first Sync of the
// new session claims it.
func (s *Session) reregister(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.again.C():
		}
		s.mu.Lock()
		s.renewing = true
		s.mu.Unlock()
		if err := s.register(ctx); err != nil {
			return err
		}
		s.beatNow.Set() // resource-manager knows of no illness yet
		select {
		case <-s.again.C(): // set by calls of the old session in the meantime
		default:
		}
		select { // a colony that is being repaired may ask for it again and again
		case <-ctx.Done():
			return nil
		case <-time.After(vary(s.opts.Beat)):
		}
	}
}

// Renew registers again, at most once in a beat.
func (s *Session) Renew() { s.again.Set() }

// vary spreads d by 20 % to both sides.
func vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) // #nosec G404 -- not a secret
}

// beats calls beat now, on every beat and when now is set. A beat that failed is repeated sooner; one that says that
// the session is over ends the loop.
func (s *Session) beats(ctx context.Context, now run.Signal, beat func(context.Context) (fatal, err error)) error {
	for {
		var fatal error
		err := run.Safely(ctx, func(ctx context.Context) (err error) {
			fatal, err = beat(ctx)
			return err
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fatal != nil {
			s.attempts.Disown(ending(fatal))
			return fatal
		}
		pause := s.opts.Beat
		if err != nil {
			s.log.Warn("beat failed", "error", err)
			pause /= 5
		}
		select {
		case <-ctx.Done():
			return nil
		case <-now.C():
		case <-time.After(vary(pause)):
		}
	}
}

// ending says to tasks why they are ended with the session.
func ending(fatal error) string {
	if errs.Reason(fatal) == shutOut {
		return "the ant was shut out"
	}
	return "the ant was superseded"
}

// over tells whether the error of a call ends the session that made it.
func (s *Session) over(session string, err error) (fatal error) {
	s.mu.Lock()
	current, renewing := session == s.id, s.renewing
	s.mu.Unlock()
	switch errs.Reason(err) {
	case superseded:
		if current && !renewing { // else it may be by this ant itself
			return fmt.Errorf("another ant has registered as %s: %w", s.opts.Ant.GetAntId(), err)
		}
	case shutOut:
		return err
	case unknown:
		if current {
			s.again.Set()
		}
	}
	return nil
}

func (s *Session) heartbeat(ctx context.Context) (fatal, err error) {
	s.mu.Lock()
	session, number, draining := s.id, s.number, s.draining
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := s.rm.Heartbeat(ctx, &antv1.HeartbeatRequest{
		AntId: s.opts.Ant.GetAntId(), Session: session, UnhealthyMethods: s.opts.Unhealthy(), Draining: draining,
		Unreachable: s.opts.Unreachable(), Heard: s.opts.Heard(), Generation: number,
	})
	if err != nil {
		return s.over(session, err), fmt.Errorf("heartbeat: %w", err)
	}
	s.rest(res.GetDraining())
	return nil, nil
}

// rest does what an operator wants: finish what runs and begin nothing more, until it is wanted again. The ant stays.
func (s *Session) rest(wanted bool) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	was, open := s.resting, !s.fenced && !s.draining
	s.resting = wanted
	s.mu.Unlock()
	switch {
	case was == wanted:
	case wanted:
		s.log.Info("an operator drains this ant: it finishes what runs and takes no more")
		s.attempts.Shut()
	default:
		s.log.Info("the ant takes work again")
		if open && s.known() {
			s.attempts.Open()
		}
	}
}

// known reports whether supervisor has accepted a session of the ant.
func (s *Session) known() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Beat sends a heartbeat now: the health of a method has changed.
func (s *Session) Beat() { s.beatNow.Set() }

func (s *Session) sync(ctx context.Context) (fatal, err error) {
	s.mu.Lock()
	session, number, first := s.id, s.number, s.first
	s.mu.Unlock()
	sent := s.clock()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	running := s.attempts.Running()
	res, err := s.supervisor.Sync(ctx, &antv1.SyncRequest{
		AntId: s.opts.Ant.GetAntId(), Session: session, Generation: number, Running: running, Spooled: s.attempts.Spooled(), First: first,
	})
	if err != nil {
		return s.over(session, err), fmt.Errorf("sync: %w", err)
	}
	if !s.accepted(session, sent) {
		return nil, nil
	}
	s.attempts.Cancel(res.GetStop())
	if err := s.attempts.Settled(res.GetSettled()); err != nil {
		return nil, err
	}
	return nil, s.attempts.Resend(time.Now())
}

// accepted takes note of a good Sync; false when it was one of an older session.
func (s *Session) accepted(session string, sent time.Time) bool {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	if session != s.id {
		s.mu.Unlock()
		return false
	}
	s.lastGood, s.first = sent, false
	fenced := s.fenced
	s.fenced = false
	s.mu.Unlock()
	s.attempts.SessionAccepted()
	if s.opts.Synced != nil {
		s.opts.Synced(sent)
	}
	if fenced {
		s.log.Info("supervisor answers again")
	}
	if !s.known() {
		close(s.ready)
		fenced = true // open for the first time
	}
	s.mu.Lock()
	closed := s.draining || s.resting
	s.mu.Unlock()
	if fenced && !closed {
		s.attempts.Open()
	}
	s.good.Set()
	return true
}

// Drain tells resource-manager at once that the ant wants no more work.
func (s *Session) Drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.beatNow.Set()
}

func (s *Session) hasID() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id != ""
}

// Leave ends the session. A registration under way is waited for, until ctx ends: else the ant would be known, and
// awaited, until its lease is over.
func (s *Session) Leave(ctx context.Context) error {
	if !s.hasID() {
		select {
		case <-s.registered:
		case <-ctx.Done():
			return nil // there is no session to end
		}
	}
	s.mu.Lock()
	session := s.id
	s.mu.Unlock()
	if _, err := s.rm.Leave(ctx, &antv1.LeaveRequest{AntId: s.opts.Ant.GetAntId(), Session: session}); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}
