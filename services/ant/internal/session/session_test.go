package session

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// fake is both peers and the attempts; it notes what happens and when.
type fake struct {
	antv1.RegistrationServiceClient
	antv1.AttemptServiceClient

	mu       sync.Mutex
	begun    time.Time
	events   []string
	register error
	slow     time.Duration // of the answer to a registration
	sync     func(context.Context, *antv1.SyncRequest) (*antv1.SyncResponse, error)
	beat     error
	syncs    []time.Time
	beats    []*antv1.HeartbeatRequest
	number   int64
	drain    bool
	killing  chan struct{}
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, fmt.Sprintf("%ds ", int(time.Since(f.begun).Round(time.Second).Seconds()))+fmt.Sprintf(format, args...))
}

func (f *fake) Register(context.Context, *antv1.RegisterRequest, ...grpc.CallOption) (*antv1.RegisterResponse, error) {
	f.mu.Lock()
	slow := f.slow
	f.mu.Unlock()
	time.Sleep(slow)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.register != nil {
		return nil, f.register
	}
	f.beat = nil
	f.number++
	return &antv1.RegisterResponse{Session: fmt.Sprint("s", f.number), Generation: f.number}, nil
}

func (f *fake) Heartbeat(_ context.Context, r *antv1.HeartbeatRequest, _ ...grpc.CallOption) (*antv1.HeartbeatResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats = append(f.beats, r)
	return &antv1.HeartbeatResponse{Draining: f.drain}, f.beat
}

func (f *fake) Leave(context.Context, *antv1.LeaveRequest, ...grpc.CallOption) (*antv1.LeaveResponse, error) {
	f.note("leave")
	return &antv1.LeaveResponse{}, nil
}

func (f *fake) Sync(ctx context.Context, r *antv1.SyncRequest, _ ...grpc.CallOption) (*antv1.SyncResponse, error) {
	f.mu.Lock()
	f.syncs = append(f.syncs, time.Now())
	answer := f.sync
	f.mu.Unlock()
	if answer == nil {
		return &antv1.SyncResponse{}, nil
	}
	return answer(ctx, r)
}

func (f *fake) answer(sync func(context.Context, *antv1.SyncRequest) (*antv1.SyncResponse, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sync = sync
}

func (f *fake) Begin(session string)        { f.note("begin %s", session) }
func (f *fake) SessionAccepted()            {}
func (f *fake) Running() []string           { return []string{"r"} }
func (f *fake) Spooled() []string           { return []string{"s"} }
func (f *fake) Cancel(uids []string)        { f.noteAll("cancel", uids) }
func (f *fake) Settled(uids []string) error { f.noteAll("settled", uids); return nil }
func (f *fake) Resend(time.Time) error      { return nil }
func (f *fake) Disown(why string)           { f.Kill(why) }
func (f *fake) Kill(string) {
	if f.killing != nil {
		f.killing <- struct{}{} // it has begun
		<-f.killing             // it may end
	}
	f.note("kill")
}
func (f *fake) Open() { f.note("open") }
func (f *fake) Shut() { f.note("shut") }

func (f *fake) noteAll(what string, uids []string) {
	if len(uids) > 0 {
		f.note("%s %s", what, strings.Join(uids, ","))
	}
}

func (f *fake) saw() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.events, "; ")
}

// play runs a session for a script of what happens, in virtual time.
func play(t *testing.T, script func(f *fake, s *Session)) (f *fake, err error) {
	t.Helper()
	return playWith(t, func(*fake) {}, script)
}

// playWith is play with a fake that is prepared before the session begins.
func playWith(t *testing.T, prepare func(*fake), script func(f *fake, s *Session)) (f *fake, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f = &fake{begun: time.Now()}
		prepare(f)
		s := New(Options{Ant: &antv1.RegisterRequest{AntId: "a"}, Beat: 5 * time.Second, FenceAfter: 20 * time.Second, Unhealthy: func() []string { return []string{"SHELL"} }, Unreachable: hears, Heard: never},
			f, f, f, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		script(f, s)
		cancel()
		err = <-done
	})
	return f, err
}

func fail(context.Context, *antv1.SyncRequest) (*antv1.SyncResponse, error) {
	return nil, errs.Unavailable("AWAY", "away")
}

func hang(ctx context.Context, _ *antv1.SyncRequest) (*antv1.SyncResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func expect(t *testing.T, f *fake, want string) {
	t.Helper()
	if got := f.saw(); got != want {
		t.Errorf("saw %q, want %q", got, want)
	}
}

func TestBeats(t *testing.T) {
	f, err := play(t, func(*fake, *Session) { time.Sleep(10 * time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	expect(t, f, "0s begin s1; 0s open")
	for i := 1; i < len(f.syncs); i++ {
		if d := f.syncs[i].Sub(f.syncs[i-1]); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("%s between two Syncs", d)
		}
	}
	if n := len(f.syncs); n < 100 || n > 150 {
		t.Errorf("%d Syncs in 10 minutes", n)
	}
	if n := len(f.beats); n < 100 || n > 150 || f.beats[0].GetUnhealthyMethods()[0] != "SHELL" {
		t.Errorf("%d heartbeats in 10 minutes", n)
	}
}

func TestAnswerIsCarriedOut(t *testing.T) {
	echo := func(f *fake) {
		f.sync = func(_ context.Context, r *antv1.SyncRequest) (*antv1.SyncResponse, error) {
			return &antv1.SyncResponse{Stop: r.GetRunning(), Settled: r.GetSpooled()}, nil
		}
	}
	f, _ := playWith(t, echo, func(*fake, *Session) { time.Sleep(time.Second) })
	expect(t, f, "0s begin s1; 0s open; 0s cancel r; 0s settled s")
}

func TestFence(t *testing.T) {
	for name, answer := range map[string]func(context.Context, *antv1.SyncRequest) (*antv1.SyncResponse, error){"refused": fail, "hanging": hang} {
		t.Run(name, func(t *testing.T) {
			var last time.Time
			f, err := play(t, func(f *fake, _ *Session) {
				time.Sleep(time.Minute)
				synctest.Wait()
				f.answer(answer)
				f.mu.Lock()
				last = f.syncs[len(f.syncs)-1]
				f.begun = last
				f.mu.Unlock()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				expect(t, f, "0s begin s1; 0s open; 20s kill")
				f.answer(nil)
				time.Sleep(time.Minute)
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.saw(); !strings.HasSuffix(got, " open") || strings.Count(got, "open") != 2 || strings.Count(got, "kill") != 1 {
				t.Errorf("afterwards: %s", got)
			}
		})
	}
}

// An answer that comes while the fence closes opens it afterwards, not before: else it would be closed for ever.
func TestAnswerWhileFencing(t *testing.T) {
	f := &fake{begun: time.Now(), killing: make(chan struct{})}
	s := New(Options{Ant: &antv1.RegisterRequest{AntId: "a"}, Beat: time.Second, FenceAfter: 20 * time.Second, Unhealthy: func() []string { return nil }, Unreachable: hears, Heard: never}, f, f, f, slog.New(slog.DiscardHandler))
	close(s.ready) // there was a good Sync
	s.id, s.lastGood = "s1", time.Now().Add(-time.Minute)
	var wg sync.WaitGroup
	wg.Go(func() { s.closeFence(time.Now(), time.Time{}) })
	<-f.killing
	opened := make(chan struct{})
	wg.Go(func() {
		s.accepted("s1", time.Now())
		close(opened)
	})
	select {
	case <-opened:
		t.Error("opened before everything was killed")
	case <-time.After(50 * time.Millisecond):
	}
	f.killing <- struct{}{}
	wg.Wait()
	expect(t, f, "0s kill; 0s open")
}

func TestSuperseded(t *testing.T) {
	f, err := play(t, func(f *fake, _ *Session) {
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.beat = errs.Aborted("SESSION_SUPERSEDED", "superseded")
		f.mu.Unlock()
		time.Sleep(time.Minute)
	})
	if err == nil || errs.Reason(err) != "SESSION_SUPERSEDED" {
		t.Errorf("ended with %v", err)
	}
	if !strings.HasSuffix(f.saw(), "kill") {
		t.Errorf("saw %s", f.saw())
	}
}

// TestRenewingSupersedesNobody: the peers know the new session before the ant does.
func TestRenewingSupersedesNobody(t *testing.T) {
	f, err := play(t, func(f *fake, s *Session) {
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.beat = errs.Aborted("SESSION_SUPERSEDED", "superseded")
		f.slow = time.Minute
		f.mu.Unlock()
		s.Renew()
		time.Sleep(3 * time.Minute)
	})
	if err != nil || f.number != 2 || strings.Contains(f.saw(), "kill") {
		t.Errorf("%d registrations, %v; saw %s", f.number, err, f.saw())
	}
}

// late is a resource-manager that the first try of a registration reaches after the second.
type late struct {
	*fake
	mu      sync.Mutex
	tries   int
	session string
}

func (l *late) Register(ctx context.Context, r *antv1.RegisterRequest, _ ...grpc.CallOption) (*antv1.RegisterResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	session := cmp.Or(r.GetSession(), fmt.Sprint("s", l.tries))
	if l.tries == 1 {
		time.AfterFunc(2*callTime, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.session = session
		})
		<-ctx.Done()
		return nil, ctx.Err()
	}
	l.session = session
	return &antv1.RegisterResponse{Session: session, Generation: int64(l.tries)}, nil
}

func (l *late) Heartbeat(_ context.Context, r *antv1.HeartbeatRequest, _ ...grpc.CallOption) (*antv1.HeartbeatResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.GetSession() != l.session {
		return nil, errs.Precondition("SESSION_SUPERSEDED", "superseded")
	}
	return &antv1.HeartbeatResponse{}, nil
}

// TestLateRegistrationSupersedesNobody: the ant has given up a try that arrives when a later one was answered.
func TestLateRegistrationSupersedesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &late{fake: &fake{begun: time.Now()}}
		s := New(Options{Ant: &antv1.RegisterRequest{AntId: "a"}, Beat: 5 * time.Second, FenceAfter: 20 * time.Second, Unhealthy: func() []string { return nil }, Unreachable: hears, Heard: never},
			l, l, l, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil || l.tries != 2 || strings.Contains(l.saw(), "kill") {
			t.Errorf("%d tries, %v; saw %s", l.tries, err, l.saw())
		}
	})
}

func TestUnknownAnt(t *testing.T) {
	f, err := play(t, func(f *fake, _ *Session) {
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.beat = errs.NotFound("ANT_UNKNOWN", "unknown")
		f.mu.Unlock()
		time.Sleep(time.Minute)
	})
	if err != nil || f.number != 2 {
		t.Errorf("%d registrations, %v; saw %s", f.number, err, f.saw())
	}
}

func TestRegistrationIsRepeated(t *testing.T) {
	away := func(f *fake) { f.register = errs.Unavailable("AWAY", "away") }
	f, err := playWith(t, away, func(f *fake, s *Session) {
		time.Sleep(30 * time.Second)
		f.mu.Lock()
		f.register = nil
		f.mu.Unlock()
		<-s.Ready()
	})
	if err != nil || f.number != 1 {
		t.Errorf("%d registrations, %v", f.number, err)
	}
}

func TestBadRegistrationEnds(t *testing.T) {
	refuse := func(f *fake) { f.register = errs.Invalid("REQUEST_INVALID", "bad id") }
	_, err := playWith(t, refuse, func(*fake, *Session) { time.Sleep(time.Minute) })
	if err == nil {
		t.Error("no error")
	}
}

func TestDrainIsSaidAtOnce(t *testing.T) {
	f, _ := play(t, func(f *fake, s *Session) {
		time.Sleep(61 * time.Second)
		s.Drain()
		synctest.Wait()
		f.mu.Lock()
		if !f.beats[len(f.beats)-1].GetDraining() {
			t.Error("the last heartbeat does not say draining")
		}
		f.mu.Unlock()
		if err := s.Leave(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if !strings.HasSuffix(f.saw(), "leave") {
		t.Errorf("saw %s", f.saw())
	}
}

// An operator's drain shuts the ant for work and nothing else: neither a fence that opens nor the session's end is
// confused by it.
func TestOperatorsDrain(t *testing.T) {
	_, err := play(t, func(f *fake, s *Session) {
		set := func(drain bool) {
			f.mu.Lock()
			f.drain = drain
			f.mu.Unlock()
			s.Beat()
			synctest.Wait()
		}
		time.Sleep(time.Second)
		set(true)
		set(true)
		f.answer(fail)
		time.Sleep(time.Minute)
		f.answer(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := f.saw(); strings.Count(got, "open") != 1 || strings.Count(got, "shut") != 1 || strings.Count(got, "kill") != 1 {
			t.Errorf("while draining: %s", got)
		}
		set(false)
		if got := f.saw(); !strings.HasSuffix(got, "s open") || strings.Count(got, "open") != 2 {
			t.Errorf("afterwards: %s", got)
		}
		set(true)
		s.Drain()
		set(false)
		if got := f.saw(); !strings.HasSuffix(got, "s shut") {
			t.Errorf("an ant that ends takes work: %s", got)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDrainedFromTheStart(t *testing.T) {
	f, _ := playWith(t, func(f *fake) { f.drain = true }, func(*fake, *Session) { time.Sleep(time.Minute) })
	if got := f.saw(); strings.Contains(got, "kill") || !strings.HasSuffix(got, "shut") && strings.Contains(got, "open") {
		t.Errorf("saw %s", got)
	}
}

func hears() string { return "" }

func never() int64 { return 0 }
