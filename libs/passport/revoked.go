package passport

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/run"
)

// revokedEvery is how often Revoked asks: what was revoked counts nowhere within five seconds.
const revokedEvery = 2 * time.Second

// Revoked knows which certificates of ants count no more. Until it was told for the first time none counts, and callers wait a moment for
// that; when nobody answers later it goes on with what it knows, and says so.
type Revoked struct {
	before atomic.Pointer[map[string]time.Time]
	once   sync.Once
	told   chan struct{} // closed when it was told
}

func (r *Revoked) first() chan struct{} {
	r.once.Do(func() { r.told = make(chan struct{}) })
	return r.told
}

// RevokedReason is that of the refusal of an ant that was shut out.
const RevokedReason = "CERTIFICATE_REVOKED"

// Gone is what NewChecker wants.
func (r *Revoked) Gone(name pki.Name, cert *x509.Certificate) error {
	if name.Kind != pki.Ant {
		return nil
	}
	known := r.before.Load()
	if known == nil {
		select {
		case <-r.first():
			known = r.before.Load()
		case <-time.After(revokedEvery):
			return errs.Unavailable("REVOKED_UNKNOWN", "it is not known yet which ants were shut out")
		}
	}
	if before, ok := (*known)[name.ID]; ok && !pki.IssuedAt(cert).After(before) {
		return errs.Unauthenticated(RevokedReason, "ant %s was shut out: it may join again with a new token", name.ID)
	}
	return nil
}

// Ask replaces what is known by what ask returns: by ant, when it was shut out. Certificates from before that do not count.
func (r *Revoked) Ask(ctx context.Context, ask func(context.Context) (map[string]time.Time, error)) error {
	ctx, cancel := context.WithTimeout(ctx, revokedEvery)
	defer cancel()
	before, err := ask(ctx)
	if err == nil && r.before.Swap(&before) == nil {
		close(r.first())
	}
	return err
}

// Follow asks again and again until ctx ends.
func (r *Revoked) Follow(ctx context.Context, log *slog.Logger, ask func(context.Context) (map[string]time.Time, error)) error {
	return run.Loop(ctx, log, "ants that were shut out", revokedEvery, run.NewSignal(), func(ctx context.Context) error { return r.Ask(ctx, ask) })
}
