// Package attempt takes attempts from the doorbell to the settled result.
//
// An attempt is listed as running from the answer to its claim until its result is in the spool, and as spooled from
// then until supervisor calls it settled: at no moment is it in neither list, so a Sync never makes it look lost.
package attempt

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/localcopy"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

// Options of the manager.
type Options struct {
	// Ant is the id of the ant.
	Ant string
	// LogDir holds the logs that are too long for memory.
	LogDir string
	// LogLimit is the most that is kept of one log, in bytes.
	LogLimit int64
	// InputBytes is the most that is unpacked for one attempt; 0 leaves it to the limits of archives.
	InputBytes int64
	// ResendAfter is how long a result may be unsettled before it is sent again.
	ResendAfter time.Duration
	// UploadPatience is how long a result waits for its log.
	UploadPatience time.Duration
}

// Deps of the manager.
type Deps struct {
	Executors  []executor.Executor
	Spool      *spool.Spool
	Supervisor antv1.AttemptServiceClient
	Caches     antv1.CacheServiceClient
	Copies     *localcopy.Store
	NATS       *nats.Conn
	JS         jetstream.JetStream
	HTTP       *http.Client
	Log        *slog.Logger
	Meter      metric.Meter
}

// Manager runs attempts.
type Manager struct {
	opts    Options
	deps    Deps
	methods map[string]executor.Executor
	metrics metrics
	chunks  chan liveChunk
	sent    chan sentResult

	heard atomic.Int64 // claims that were answered

	life context.Context // ends when the ant does
	end  context.CancelFunc
	all  sync.WaitGroup

	mu              sync.Mutex
	running         map[string]*attempt
	expected        map[string]bool  // attempts of an earlier session that Reclaim asks for; Sync lists them as running
	found           map[string]Found // of those, what an earlier life of this ant has begun and goes on here
	given           bool             // another ant has the id: what is killed here is not reported
	session         string
	sessionAccepted chan struct{} // closed when supervisor has accepted the session
	closed          bool          // no attempt may begin: fenced, draining or ended
	idle            chan struct{} // closed when running gets empty; nil when nobody waits
}

// New returns a manager; Run must run while it is used.
func New(o Options, d Deps) (*Manager, error) {
	m := &Manager{
		opts: o, deps: d, methods: map[string]executor.Executor{}, running: map[string]*attempt{}, expected: map[string]bool{}, found: map[string]Found{},
		chunks: make(chan liveChunk, maxChunks), sent: make(chan sentResult, maxSent), sessionAccepted: make(chan struct{}),
	}
	m.life, m.end = context.WithCancel(context.Background())
	for _, e := range d.Executors {
		for _, name := range e.Methods() {
			m.methods[name] = e
		}
	}
	return m, m.metrics.make(d.Meter)
}

// Run publishes until ctx ends, then ends what still runs and returns when every attempt has.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(m.publishLive)
	wg.Go(m.watchSent)
	<-ctx.Done()
	m.Kill("the ant ended")
	m.end()
	m.all.Wait()
	close(m.chunks)
	close(m.sent)
	wg.Wait()
	return nil
}

// Begin starts to use a session. Until SessionAccepted no attempt ends: its result must carry the session that supervisor
// knows it by.
func (m *Manager) Begin(session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = session
	select {
	case <-m.sessionAccepted:
		m.sessionAccepted = make(chan struct{})
	default:
	}
}

// SessionAccepted says that supervisor has accepted the session and moved the running attempts to it.
func (m *Manager) SessionAccepted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.sessionAccepted:
	default:
		close(m.sessionAccepted)
	}
}

// current waits until the session is accepted and returns it.
func (m *Manager) current() string {
	for {
		m.mu.Lock()
		session, accepted := m.session, m.sessionAccepted
		m.mu.Unlock()
		select {
		case <-accepted:
		case <-m.life.Done():
			return session
		}
		m.mu.Lock()
		same := session == m.session
		m.mu.Unlock()
		if same {
			return session
		}
	}
}

// Heard counts the claims that were answered: each proves that doorbells arrive.
func (m *Manager) Heard() int64 { return m.heard.Load() }

// Running lists the attempts that have begun and not ended.
func (m *Manager) Running() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	uids := make([]string, 0, len(m.running))
	for uid := range m.running {
		uids = append(uids, uid)
	}
	for uid := range m.expected {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}

// Spooled lists the attempts whose result is not settled. It is to be asked after Running.
func (m *Manager) Spooled() []string { return m.deps.Spool.Unsettled() }

// Open lets attempts begin; Shut does not.
func (m *Manager) Open() { m.setClosed(false) }

// Shut keeps attempts from beginning.
func (m *Manager) Shut() { m.setClosed(true) }

func (m *Manager) setClosed(closed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = closed
}

// Cancel stops attempts that supervisor does not want any more.
func (m *Manager) Cancel(uids []string) {
	for _, a := range m.find(uids) {
		a.stop(cancelled, a.grace())
	}
}

func (m *Manager) find(uids []string) []*attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*attempt
	for _, uid := range uids {
		if a := m.running[uid]; a != nil {
			out = append(out, a)
		}
	}
	return out
}

// Work says what attempt it is that has the uid, without its spec; nil when there is none. What is known of one that an
// earlier life has begun, and that is not claimed again yet, is only that.
func (m *Manager) Work(uid string) *antv1.Work {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.expected[uid] {
		return &antv1.Work{Uid: uid}
	}
	a := m.running[uid]
	if a == nil {
		return nil
	}
	w := a.work
	return &antv1.Work{Uid: uid, RequestId: w.GetRequestId(), Run: w.GetRun(), JobType: w.GetJobType(), Task: w.GetTask(), Attempt: w.GetAttempt()}
}

// End stops an attempt, with its grace, as LOST; false when it does not run.
func (m *Manager) End(uid, why string) bool {
	found := m.find([]string{uid})
	for _, a := range found {
		a.stop(lost(why), a.grace())
	}
	return len(found) > 0
}

// Disown is Kill when another ant has the id. It says what becomes of the attempts, which it may have claimed: nothing
// that is killed here is reported.
func (m *Manager) Disown(why string) {
	m.mu.Lock()
	m.given = true
	m.mu.Unlock()
	m.Kill(why)
}

// Kill ends everything at once and lets nothing begin; the attempts are LOST for that reason.
func (m *Manager) Kill(why string) {
	m.mu.Lock()
	m.closed = true
	clear(m.expected)
	m.abandonLocked()
	m.mu.Unlock()
	for _, a := range m.find(m.Running()) {
		a.stop(lost(why), 0)
	}
}

// empty is closed when nothing runs.
func (m *Manager) empty() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.running) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if m.idle == nil {
		m.idle = make(chan struct{})
	}
	return m.idle
}

// Settled forgets results that supervisor has stored or refused for good.
func (m *Manager) Settled(uids []string) error {
	if err := m.deps.Spool.Forget(uids...); err != nil {
		return fmt.Errorf("forget settled results: %w", err)
	}
	return nil
}

// Resend publishes the results that have been unsettled for too long.
func (m *Manager) Resend(now time.Time) error {
	due, err := m.deps.Spool.Due(now, maxSent/2)
	for uid, data := range due {
		m.publish(uid, data)
	}
	return err
}

// add takes an attempt into the list.
func (m *Manager) add(a *attempt) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.running[a.uid] != nil:
		return errTwice
	case m.closed && !m.expected[a.uid]:
		return errShut
	}
	m.running[a.uid] = a
	delete(m.expected, a.uid)
	m.all.Add(1)
	m.metrics.running.Add(m.life, 1)
	return nil
}

func (m *Manager) remove(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, uid)
	m.metrics.running.Add(context.WithoutCancel(m.life), -1)
	if len(m.running) == 0 && m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
}

// knows reports whether an attempt runs here or has ended here.
func (m *Manager) knows(uid string) bool {
	m.mu.Lock()
	here := m.running[uid] != nil
	m.mu.Unlock()
	return here || m.deps.Spool.Holds(uid)
}

func (m *Manager) shut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}
