// Package limit bounds how often callers call, and how many streams they keep open: by buckets of tokens for each address
// before anybody is known, for each credential and each organisation after that. There is a bounded number of buckets, and
// those that were used longest ago give way; they were full again by then, or nearly so.
package limit

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/formicary/formicary/libs/errs"
)

// Rate is what a bucket allows. Without PerSecond it allows everything.
type Rate struct {
	// PerSecond is how many calls there may be in the long run.
	PerSecond float64
	// Burst is how many there may be at once.
	Burst int
}

// String writes what Set reads.
func (r *Rate) String() string {
	if r == nil || r.PerSecond == 0 {
		return "0"
	}
	return fmt.Sprintf("%g/%d", r.PerSecond, r.Burst)
}

// Set reads "200/1000", calls per second and at once, or 0 for no limit. It makes a Rate the value of a flag.
func (r *Rate) Set(text string) error {
	if text == "0" {
		*r = Rate{}
		return nil
	}
	calls, burst, _ := strings.Cut(text, "/")
	perSecond, err := strconv.ParseFloat(calls, 64)
	n, err2 := strconv.Atoi(burst)
	if err != nil || err2 != nil || n < 1 || !(perSecond > 0) || math.IsInf(perSecond, 0) {
		return errors.New("want calls per second and at once, 200/1000 for example, or 0 for no limit")
	}
	*r = Rate{perSecond, n}
	return nil
}

// Config of the limits.
type Config struct {
	// Address bounds all calls from an address (of IPv6 from a network of 64 bits), but not from this machine.
	Address Rate
	// Credential bounds the calls with one token or session.
	Credential Rate
	// Org bounds the calls in one organisation.
	Org Rate
	// Streams is how many streams one person keeps open in an organisation; 0: any number.
	Streams int
	// Buckets is how many there are of each kind.
	Buckets int
}

// DefaultConfig is far above what people and their programs do.
func DefaultConfig() Config {
	return Config{
		Address: Rate{500, 2000}, Credential: Rate{200, 1000}, Org: Rate{1000, 5000}, Streams: 100, Buckets: 1 << 14,
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	for name, r := range map[string]Rate{"Address": c.Address, "Credential": c.Credential, "Org": c.Org} {
		if r.PerSecond < 0 || math.IsNaN(r.PerSecond) || r.PerSecond > 0 && r.Burst < 1 {
			faults = append(faults, fmt.Errorf("rate %s: want calls per second, and a burst of at least 1", name))
		}
	}
	if c.Streams < 0 || c.Buckets < 1 {
		faults = append(faults, errors.New("limits: want no negative number of streams, and buckets"))
	}
	return errors.Join(faults...)
}

// Limits are those of one gateway.
type Limits struct {
	address, credential, org *buckets
	streams                  int
	own                      quotas

	mu   sync.Mutex
	open map[[2]string]int // streams by organisation and person
}

// New returns limits where nobody has called yet.
func New(c Config) *Limits {
	return &Limits{
		address: newBuckets(c.Address, c.Buckets), credential: newBuckets(c.Credential, c.Buckets), org: newBuckets(c.Org, c.Buckets),
		streams: c.Streams, open: map[[2]string]int{},
	}
}

// From counts a call from an address, before its caller is known.
func (l *Limits) From(address string) error {
	a, err := netip.ParseAddr(address)
	if err != nil { // not over a network
		return nil //nolint:nilerr // there is nobody to tell apart
	}
	if a = a.Unmap().WithZone(""); a.IsLoopback() {
		return nil
	}
	if a.Is6() {
		p, _ := a.Prefix(64)
		a = p.Addr()
	}
	return l.address.take(a.String(), "this address")
}

// By counts a call of a caller who is known: with a credential, in an organisation. Whoever is let in without a credential
// is on this machine, and not counted.
func (l *Limits) By(credential, org string) error {
	if credential == "" {
		return nil
	}
	if err := l.credential.take(credential, "this token or session"); err != nil {
		return err
	}
	if err := l.own.take(org); err != nil {
		return err
	}
	return l.org.take(org, "this organisation")
}

// Open counts a stream that a person opens with a credential. release must be called at its end.
func (l *Limits) Open(credential, org, user string) (release func(), err error) {
	if credential == "" || l.streams == 0 {
		return func() {}, nil
	}
	key := [2]string{org, user}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key] >= l.streams {
		return nil, errs.Exhausted("TOO_MANY_STREAMS", "%d streams of yours are open, which is all that you may have; close some", l.streams)
	}
	l.open[key]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open[key]--; l.open[key] == 0 {
			delete(l.open, key)
		}
	}), nil
}

type buckets struct {
	rate Rate

	mu   sync.Mutex
	kept *simplelru.LRU[string, *rate.Limiter]
}

func newBuckets(r Rate, most int) *buckets {
	kept, err := simplelru.NewLRU[string, *rate.Limiter](most, nil)
	if err != nil {
		panic(err) // Validate has seen the number
	}
	return &buckets{rate: r, kept: kept}
}

// take takes one token for a call, or says when there is one.
func (b *buckets) take(key, whose string) error {
	if b.rate.PerSecond == 0 {
		return nil
	}
	wait := b.of(key).Reserve()
	if d := wait.Delay(); d > 0 {
		wait.Cancel()
		return errs.Exhausted("RATE_LIMITED", "too many calls from %s: at most %g a second, and %d at once", whose, b.rate.PerSecond, b.rate.Burst).
			After(max(d, time.Millisecond))
	}
	return nil
}

func (b *buckets) of(key string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.kept.Get(key); ok {
		return l
	}
	l := rate.NewLimiter(rate.Limit(b.rate.PerSecond), b.rate.Burst)
	b.kept.Add(key, l)
	return l
}
