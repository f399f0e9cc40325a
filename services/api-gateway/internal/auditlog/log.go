package auditlog

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/run"
)

// Intent is an event whose call has begun.
type Intent struct {
	ID   uuid.UUID
	Body []byte
}

// Ended is an event whose call has ended. Stored says that its intent is in the store: then it is sealed only if it is there
// still.
type Ended struct {
	Event  *Event
	Stored bool
}

// Checkpoint is an end of the chain that a gateway signed.
type Checkpoint struct {
	Head
	At                     time.Time
	Certificate, Signature []byte
}

// Store keeps the log.
type Store interface {
	DigestKey(ctx context.Context) ([]byte, error)
	Begin(ctx context.Context, intents []Intent) error
	Touch(ctx context.Context, ids []uuid.UUID) error
	// Seal adds events to the chain. Those that are in it already are left out.
	Seal(ctx context.Context, ended []Ended) (Head, error)
	// SealAbandoned adds the intents that nobody touched for so long, at most 500 of them, as Unknown.
	SealAbandoned(ctx context.Context, age time.Duration) (n int, head Head, err error)
	Head(ctx context.Context) (Head, error)
	// Page returns the events behind a place, in their order.
	Page(ctx context.Context, after int64, limit int) ([]*Event, error)
	Checkpoints(ctx context.Context, after int64, limit int) ([]Checkpoint, error)
	LastCheckpoint(ctx context.Context) (seq int64, err error)
	AddCheckpoint(ctx context.Context, c Checkpoint) error
	// List returns the events that a filter lets through: the newest before a place, or the oldest behind it.
	List(ctx context.Context, f Filter) ([]*Event, error)
}

// Options of a log.
type Options struct {
	Store Store
	Rules access.Rules
	// Identity signs the ends of the chain; nil when nobody does.
	Identity pki.Source
	// From says where a call comes from: its address and its program.
	From  func(ctx context.Context) (address, agent string)
	Log   *slog.Logger
	Meter metric.Meter
}

const (
	storeTime  = 5 * time.Second // for one transaction
	sealEvery  = 100 * time.Millisecond
	sealAtOnce = 500
	touchEvery = time.Minute
	// abandoned is the age at which an intent that nobody touches has lost its gateway.
	abandoned = 5 * time.Minute
	// mostUnsealed is how many events are kept while the database is away. Beyond it those that are stored will be UNKNOWN, and
	// refusals are lost.
	mostUnsealed = 20_000
	// What one address may write without saying who it is.
	perAddress, burst, mostAddresses = 1, 20, 10_000
)

// Log writes events.
type Log struct {
	o       Options
	methods map[string]*method // those that are audited, by "/package.Service/Method"
	intents *batch.Group[Intent, struct{}]
	wake    run.Signal
	limits  *lru.Cache[netip.Prefix, *rate.Limiter]
	// poor says that the last intent could not be stored: then calls wait for theirs before they begin.
	poor       atomic.Bool
	seq        atomic.Int64
	suppressed metric.Int64Counter

	mu    sync.Mutex
	key   []byte
	ended []Ended
	open  map[uuid.UUID]time.Time
	// signed is the place of the last checkpoint, signedAt when it was made.
	signed   int64
	signedAt time.Time
}

// New returns a log that writes while Run does.
func New(o Options) (*Log, error) {
	limits, err := lru.New[netip.Prefix, *rate.Limiter](mostAddresses)
	if err != nil {
		return nil, fmt.Errorf("make limits: %w", err)
	}
	l := &Log{o: o, methods: map[string]*method{}, wake: run.NewSignal(), limits: limits, open: map[uuid.UUID]time.Time{}}
	for full, rule := range o.Rules {
		if rule.Internal || rule.Ant || rule.Reads && !rule.Audited {
			continue
		}
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(nameOf(full))
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", full, err)
		}
		if m, ok := d.(protoreflect.MethodDescriptor); ok {
			l.methods[full] = &method{name: full[1:], permission: rule.Permission, public: rule.Public, kind: kindOf(m.Name()), in: find(m.Input()), out: find(m.Output())}
		}
	}
	l.intents = batch.New(batch.Options{}, func(ctx context.Context, intents []Intent) ([]struct{}, []error) {
		ctx, cancel := context.WithTimeout(access.Acting(ctx, ""), storeTime)
		defer cancel()
		if err := o.Store.Begin(ctx, intents); err != nil {
			return nil, batch.All(len(intents), err)
		}
		return nil, nil
	})
	return l, l.instruments()
}

func (l *Log) instruments() error {
	seq, err := l.o.Meter.Int64ObservableGauge("formicary_audit_seq", metric.WithDescription("place of the last event of the audit log"))
	if err != nil {
		return fmt.Errorf("make audit gauge: %w", err)
	}
	unsealed, err := l.o.Meter.Int64ObservableGauge("formicary_audit_unsealed", metric.WithDescription("events of ended calls that are not in the chain of the audit log yet"))
	if err != nil {
		return fmt.Errorf("make unsealed gauge: %w", err)
	}
	if _, err = l.o.Meter.RegisterCallback(func(_ context.Context, ob metric.Observer) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		ob.ObserveInt64(unsealed, int64(len(l.ended)))
		if n := l.seq.Load(); n > 0 { // another gateway may have sealed what this one did not see
			ob.ObserveInt64(seq, n)
		}
		return nil
	}, seq, unsealed); err != nil {
		return fmt.Errorf("observe the audit log: %w", err)
	}
	l.suppressed, err = l.o.Meter.Int64Counter("formicary_audit_suppressed", metric.WithDescription("refusals and failed logins that were too many from one address to be written to the audit log"))
	if err != nil {
		return fmt.Errorf("make suppressed counter: %w", err)
	}
	return nil
}

// Run writes until ctx ends; then what has ended is sealed. It must end after the last call.
func (l *Log) Run(ctx context.Context) error {
	err := run.Group(ctx,
		run.Member{Name: "intents", Run: l.intents.Run},
		run.Member{Name: "seal", Run: func(ctx context.Context) error {
			return run.Loop(access.Acting(ctx, ""), l.o.Log, "seal the audit log", sealEvery, l.wake, l.seal)
		}},
		run.Member{Name: "touch", Run: func(ctx context.Context) error {
			return run.Loop(access.Acting(ctx, ""), l.o.Log, "keep audited calls alive", touchEvery, run.NewSignal(), l.touch)
		}},
		run.Member{Name: "abandoned", Run: func(ctx context.Context) error {
			return run.Loop(access.Acting(ctx, ""), l.o.Log, "seal abandoned events", touchEvery, run.NewSignal(), func(ctx context.Context) error {
				return l.SealAbandoned(ctx, abandoned)
			})
		}},
	)
	last, cancel := context.WithTimeout(access.Acting(context.WithoutCancel(ctx), ""), storeTime)
	defer cancel()
	if serr := l.seal(last); serr != nil {
		l.o.Log.Warn("the last events of the audit log are not sealed: they will be UNKNOWN", "error", serr)
	}
	return err
}

// digestKey of the colony.
func (l *Log) digestKey(ctx context.Context) ([]byte, error) {
	l.mu.Lock()
	key := l.key
	l.mu.Unlock()
	if key != nil {
		return key, nil
	}
	ctx, cancel := context.WithTimeout(access.Acting(context.WithoutCancel(ctx), ""), storeTime)
	defer cancel()
	key, err := l.o.Store.DigestKey(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.key = key
	return key, nil
}

// store keeps an intent, whatever becomes of its caller.
func (l *Log) store(ctx context.Context, e *Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an audit event: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	_, err = l.intents.Do(ctx, Intent{e.ID, body})
	l.poor.Store(err != nil)
	if err != nil {
		l.o.Log.ErrorContext(ctx, "an audit event cannot be stored", "method", e.Method, "error", err)
		return unavailable()
	}
	return nil
}

func unavailable() error {
	return errs.Unavailable("AUDIT_UNAVAILABLE", "the audit log cannot be written just now, and nothing is done or shown without it; if you changed something it may be done: try again with the same idempotency key")
}

// add hands in an event that has ended.
func (l *Log) add(e Ended) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, e.Event.ID)
	if len(l.ended) >= mostUnsealed {
		return
	}
	l.ended = append(l.ended, e)
	if len(l.ended)%sealAtOnce == 0 {
		l.wake.Set()
	}
}

// seal adds what has ended to the chain.
func (l *Log) seal(ctx context.Context) error {
	for {
		l.mu.Lock()
		some := l.ended[:min(len(l.ended), sealAtOnce)]
		l.mu.Unlock()
		if len(some) == 0 {
			return nil
		}
		tx, cancel := context.WithTimeout(ctx, 2*storeTime)
		head, err := l.o.Store.Seal(tx, some)
		cancel()
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.ended = append([]Ended(nil), l.ended[len(some):]...)
		l.mu.Unlock()
		if err := l.sealed(ctx, head); err != nil {
			return err
		}
	}
}

func (l *Log) sealed(ctx context.Context, head Head) error {
	l.seq.Store(max(l.seq.Load(), head.Seq))
	return l.sign(ctx, head)
}

// SealAbandoned seals the intents that no gateway touched for so long.
func (l *Log) SealAbandoned(ctx context.Context, age time.Duration) error {
	for {
		n, head, err := l.o.Store.SealAbandoned(ctx, age)
		if err != nil || n == 0 {
			return err
		}
		if err := l.sealed(ctx, head); err != nil {
			return err
		}
	}
}

// touch says of the calls that take long that they are under way.
func (l *Log) touch(ctx context.Context) error {
	l.mu.Lock()
	var ids []uuid.UUID
	for id, began := range l.open {
		if time.Since(began) > touchEvery/2 {
			ids = append(ids, id)
		}
	}
	for _, e := range l.ended { // the database was away
		ids = append(ids, e.Event.ID)
	}
	l.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	return l.o.Store.Touch(ctx, ids)
}

// allowed says whether one more event may be written for an address that did not say who it is.
func (l *Log) allowed(ctx context.Context, address string) bool {
	prefix := netip.Prefix{}
	if addr, err := netip.ParseAddr(address); err == nil {
		bits := 32
		if addr = addr.Unmap(); addr.Is6() {
			bits = 64
		}
		prefix = netip.PrefixFrom(addr.WithZone(""), bits).Masked()
	}
	limit, ok := l.limits.Get(prefix)
	if !ok {
		limit = rate.NewLimiter(perAddress, burst)
		if before, had, _ := l.limits.PeekOrAdd(prefix, limit); had {
			limit = before
		}
	}
	if limit.Allow() {
		return true
	}
	l.suppressed.Add(ctx, 1)
	return false
}
