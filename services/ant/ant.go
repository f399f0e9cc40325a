// Package ant is the colony's worker: it claims attempts, executes them and reports how they ended.
//
// It only opens connections, none is opened to it: doorbells come from NATS, everything else is asked of
// resource-manager and supervisor. Read internal/attempt for the way of one attempt, internal/session for what keeps
// the ant known, internal/shell for how a script is run and how nothing of it is left behind.
package ant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/attempt"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/localcopy"
	"github.com/formicary/formicary/services/ant/internal/session"
	"github.com/formicary/formicary/services/ant/internal/socket"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

// Deps are what the ant uses and does not own.
type Deps struct {
	NATS            *nats.Conn
	JS              jetstream.JetStream
	ResourceManager grpc.ClientConnInterface
	Supervisor      grpc.ClientConnInterface
	// As opens the connections over which a bridge's ants call, each under its own name, until done is called. Nil: over the
	// two above, which must then be those of whoever calls.
	As    func(id string) (resourceManager, supervisor grpc.ClientConnInterface, done func(), err error)
	Log   *slog.Logger
	Meter metric.Meter
}

// Service is one ant.
type Service struct {
	conf Config
	deps Deps
	// worker is the one whose ant this is; nil when the ant executes by itself.
	worker *socket.Worker
}

// New checks the configuration; nothing is opened before Run.
func New(conf Config, deps Deps) (*Service, error) {
	if err := conf.Validate(); err != nil {
		return nil, fmt.Errorf("configure ant: %w", err)
	}
	deps.Log = deps.Log.With("ant", conf.ID)
	return &Service{conf: conf, deps: deps}, nil
}

// Run works until ctx ends, then drains: what runs may end by itself for Config.DrainTimeout, then it is told to and gets its
// grace, at most Config.StopTimeout. A second signal (run.Hurried) ends it at once.
func (s *Service) Run(ctx context.Context) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	journal, left, err := spool.Open(s.conf.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = journal.Close() }()
	executors, err := s.executors(ctx, left)
	if err != nil {
		return err
	}
	last, err := openLease(s.conf.Dir)
	if err != nil {
		return err
	}
	defer last.close()
	past, err := s.recover(ctx, executors, last, left)
	if err != nil {
		return err
	}
	if err := journal.Forget(past.gone...); err != nil {
		return err
	}
	if s.worker != nil {
		defer s.tidy(journal)
	}
	copies, err := localcopy.Open(filepath.Join(s.conf.Dir, copyDir), s.conf.CacheBytes)
	if err != nil {
		return err
	}
	uploads := &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: time.Minute}
	defer uploads.CloseIdleConnections()
	attempts, err := attempt.New(attempt.Options{
		Ant: s.conf.ID, LogDir: filepath.Join(s.conf.Dir, logDir), LogLimit: s.conf.LogLimit, InputBytes: s.conf.InputBytes, ResendAfter: s.conf.ResendAfter, UploadPatience: s.conf.UploadPatience,
	}, attempt.Deps{
		Executors: s.executing(executors, past), Spool: journal, Supervisor: antv1.NewAttemptServiceClient(s.deps.Supervisor),
		Caches: antv1.NewCacheServiceClient(s.deps.Supervisor), Copies: copies,
		NATS: s.deps.NATS, JS: s.deps.JS, HTTP: &http.Client{Transport: uploads}, Log: s.deps.Log, Meter: s.deps.Meter,
	})
	if err != nil {
		return err
	}
	attempts.Found(past.found)
	return s.serve(ctx, executors, attempts, past, last)
}

// tidy removes the data directory of a worker's ant that has nothing to remember. Worker ids come and go.
func (s *Service) tidy(journal *spool.Spool) {
	if len(journal.Unsettled()) > 0 {
		return
	}
	if err := os.RemoveAll(s.conf.Dir); err != nil {
		s.deps.Log.Warn("data directory of a worker not removed", "error", err)
	}
}

const (
	workDir = "work"
	logDir  = "log"
	copyDir = "cache"
)

// lock makes the data directory and keeps other ants out of it.
func (s *Service) lock() (unlock func(), err error) {
	logs := filepath.Join(s.conf.Dir, logDir)
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.conf.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock data directory %s (does another ant use it?): %w", s.conf.Dir, err)
	}
	old, err := os.ReadDir(logs) // of attempts that a killed ant did not end
	for _, l := range old {
		err = errors.Join(err, os.Remove(filepath.Join(logs, l.Name())))
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("empty %s: %w", logs, err)
	}
	return func() {
		// Not by closing alone: a process that is being started holds a copy of the file for a moment.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		_ = f.Close()
	}, nil
}

// past is what goes on of an earlier life of the ant.
type past struct {
	found  map[string]attempt.Found // by uid
	gone   []string                 // uids of what does not
	synced time.Time                // when it had its last answer from supervisor; zero when nothing goes on
}

// margin is how much of the time without an answer must be left for tasks to be adopted.
const margin = time.Second

// recover finds what goes on of an earlier life and kills the rest. Only then may a Sync say that it is gone. What has been
// without an answer from supervisor for too long does not go on.
func (s *Service) recover(ctx context.Context, executors []executor.Executor, last *lease, left []spool.Attempt) (past, error) {
	p := past{found: map[string]attempt.Found{}}
	traces, began := make(map[string]string, len(left)), make(map[string]time.Time, len(left))
	for _, a := range left {
		traces[a.UID], began[a.UID] = a.Trace, a.Began
		p.gone = append(p.gone, a.UID)
	}
	ctx, cancel := context.WithTimeout(ctx, recoverTime)
	defer cancel()
	age, known := last.age()
	for _, e := range executors {
		adopter, ok := e.(executor.Adopter)
		if !ok || !s.conf.Adopt || !known || len(left) == 0 || age > s.conf.FenceAfter-margin {
			continue
		}
		for _, uid := range adopter.Find(ctx, traces) {
			p.found[uid], p.synced = attempt.Found{By: adopter, Began: began[uid]}, time.Now().Add(-age)
		}
	}
	p.gone = slices.DeleteFunc(p.gone, func(uid string) bool { return p.found[uid].By != nil })
	if len(left) > 0 {
		s.deps.Log.Warn("an earlier life of this ant left attempts", "ended", p.gone, "found", len(p.found))
	}
	for _, e := range executors {
		if err := e.Recover(ctx, traces); err != nil {
			return p, err
		}
	}
	return p, nil
}

const (
	recoverTime = 30 * time.Second
	leaveTime   = 2 * time.Second
	stopSubject = "formicary.stop."
)

// serve runs the ant in three layers that end from the outside in: the consumer with ctx, the session when nothing
// runs any more, the attempts and executors last.
func (s *Service) serve(ctx context.Context, executors []executor.Executor, attempts *attempt.Manager, before past, last *lease) error {
	base, endBase := context.WithCancel(context.WithoutCancel(ctx))
	defer endBase()
	inner := make(chan error, 1)
	go func() {
		tools, endTools := context.WithCancel(context.WithoutCancel(ctx))
		defer endTools()
		ended := make(chan error, 1)
		go func() { ended <- runExecutors(tools, executors) }()
		err := attempts.Run(base)
		endTools()
		inner <- errors.Join(err, <-ended)
	}()
	attempts.Shut() // until supervisor knows the session
	if s.worker != nil {
		attempts.Expect(s.worker.Claims())
	}
	ears := &reachability{}
	ses := session.New(session.Options{
		Ant: s.registration(executors), Beat: s.conf.Beat, FenceAfter: s.conf.FenceAfter, Unhealthy: s.unhealthy(executors), Unreachable: ears.unreachable, Heard: attempts.Heard,
		LastGood: before.synced, Synced: last.renew,
	},
		antv1.NewRegistrationServiceClient(s.deps.ResourceManager), antv1.NewAttemptServiceClient(s.deps.Supervisor), attempts, s.deps.Log)
	ears.beat = ses.Beat
	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	defer endLife()
	members := []run.Member{
		{Name: "session", Run: ses.Run},
		{Name: "work", Run: func(life context.Context) error {
			defer endLife()
			return s.work(ctx, life, ses, executors, attempts, ears)
		}},
	}
	if s.worker != nil {
		members = append(members, run.Member{Name: "worker", Run: func(life context.Context) error {
			return s.attend(life, ses, attempts)
		}})
	}
	if len(before.found) > 0 {
		members = append(members, run.Member{Name: "adoption", Run: func(life context.Context) error {
			return adopt(life, ses, attempts)
		}})
	}
	err := run.Group(life, members...)
	endBase()
	return errors.Join(err, <-inner)
}

// adopt claims what goes on of an earlier life, once supervisor knows the session.
func adopt(life context.Context, ses *session.Session, attempts *attempt.Manager) error {
	select {
	case <-life.Done():
		return nil
	case <-ses.Ready():
	}
	attempts.Reclaim(life)
	<-life.Done()
	return nil
}

// attend reclaims what the worker brought along, then tells resource-manager whenever its health changes.
func (s *Service) attend(life context.Context, ses *session.Session, attempts *attempt.Manager) error {
	select {
	case <-life.Done():
		return nil
	case <-ses.Ready():
	}
	reclaimed := attempts.Reclaim(life)
	if life.Err() != nil {
		return nil //nolint:nilerr // the end of life is no error
	}
	s.worker.Grant(reclaimed)
	for {
		select {
		case <-life.Done():
			return nil
		case <-s.worker.Changed().C():
			ses.Beat()
		}
	}
}

func runExecutors(ctx context.Context, executors []executor.Executor) error {
	members := make([]run.Member, len(executors))
	for i, e := range executors {
		members[i] = run.Member{Name: e.Methods()[0], Run: e.Run}
	}
	return run.Group(ctx, members...)
}

// work takes attempts until ctx ends, then drains. It ends early when life does.
func (s *Service) work(ctx, life context.Context, ses *session.Session, executors []executor.Executor, attempts *attempt.Manager, ears *reachability) error {
	taking, stop := context.WithCancel(life)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	select {
	case <-ses.Ready():
	case <-taking.Done():
		if life.Err() != nil {
			return nil
		}
		return s.leave(life, ses) // nothing was begun, but it may have registered
	}
	hints, err := s.deps.NATS.Subscribe(stopSubject+s.conf.ID, func(m *nats.Msg) {
		var hint antv1.StopHint
		if err := proto.Unmarshal(m.Data, &hint); err == nil {
			attempts.Cancel(hint.GetUids())
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to stop hints: %w", err)
	}
	defer func() { _ = hints.Unsubscribe() }()
	questions, err := s.answer(life, executors, attempts)
	if err != nil {
		return err
	}
	defer func() { _ = questions.Unsubscribe() }()
	err = bus.Consume(taking, s.deps.Log, s.deps.JS, bus.Consumption{
		Stream: bus.Tasks, Bind: true, Max: maxBells, Consumer: jetstream.ConsumerConfig{Durable: "ant-" + s.conf.ID}, Handle: attempts.Ring,
		Missing: func(ctx context.Context) { s.missing(ctx, ses) }, Listening: ears.report,
	})
	if err != nil || life.Err() != nil {
		return err
	}
	s.deps.Log.Info("draining", "running", len(attempts.Running()), "patience", s.conf.DrainTimeout)
	ses.Drain()
	attempts.Drain(life, attempt.Patience{Run: s.conf.DrainTimeout, Grace: s.conf.StopTimeout, Hurried: run.Hurried(ctx)})
	flush, cancel := context.WithTimeout(life, leaveTime)
	defer cancel()
	attempts.Flush(flush)
	return s.leave(life, ses)
}

// leave ends the session, if there is one. It is no fault when nobody hears it: the lease ends as well.
func (s *Service) leave(life context.Context, ses *session.Session) error {
	bye, cancel := context.WithTimeout(life, leaveTime)
	defer cancel()
	if err := ses.Leave(bye); err != nil {
		s.deps.Log.Warn("left without saying so", "error", err)
	}
	return nil
}

// missing registers again when the doorbells' consumer or stream is gone: resource-manager makes it for a session.
func (s *Service) missing(ctx context.Context, ses *session.Session) {
	_, err := s.deps.JS.Consumer(ctx, bus.Tasks, "ant-"+s.conf.ID)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		ses.Renew()
	}
}

// maxBells is the largest number of doorbells that are answered together.
const maxBells = 256

// offers reports whether the ant takes attempts for an executor: one may be there only for what an earlier life has begun.
func (s *Service) offers(e executor.Executor) bool {
	return s.worker != nil || slices.ContainsFunc(e.Methods(), func(m string) bool { return slices.Contains(s.conf.Methods, m) })
}

// executing are the executors of attempts: those of new ones, and those of what goes on.
func (s *Service) executing(executors []executor.Executor, before past) (out []executor.Executor) {
	needed := map[any]bool{}
	for _, f := range before.found {
		needed[f.By] = true
	}
	for _, e := range executors {
		if s.offers(e) || needed[e] {
			out = append(out, e)
		}
	}
	return out
}

func (s *Service) unhealthy(executors []executor.Executor) func() []string {
	return func() (methods []string) {
		for _, e := range executors {
			if s.offers(e) && e.Healthy() != nil {
				methods = append(methods, e.Methods()...)
			}
		}
		return methods
	}
}

func (s *Service) registration(executors []executor.Executor) *antv1.RegisterRequest {
	host, _ := os.Hostname()
	labels := map[string]string{"host": host}
	maps.Copy(labels, s.conf.Labels)
	var methods []string
	for _, e := range executors {
		for _, m := range e.Methods() {
			if s.worker != nil || slices.Contains(s.conf.Methods, m) {
				methods = append(methods, m)
			}
		}
	}
	return &antv1.RegisterRequest{AntId: s.conf.ID, Methods: methods, Tags: s.conf.Tags, Slots: int32(s.conf.Slots), Version: s.conf.Version, Labels: labels}
}
