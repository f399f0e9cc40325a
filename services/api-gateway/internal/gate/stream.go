package gate

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
)

// stream is a call that stays open.
type stream struct {
	method  string
	brought Credential
	caller  access.Caller
	cancel  context.CancelCauseFunc
	// unknown is how often in a row it could not be said who the caller is.
	unknown int
}

const (
	// askEvery is how long a stream goes on at most before it is asked again who its caller is and what that may do.
	askEvery = 2 * time.Second
	// mostUnknown is how often that may fail in a row: then nobody knows whether the caller still may.
	mostUnknown = 15
)

// Run ends the streams whose callers may not see them any more, until ctx ends; then it ends all.
func (g *Gate) Run(ctx context.Context) error {
	defer g.EndStreams()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			g.AskAgain(ctx)
		}
	}
}

// AskAgain asks of every open stream who its caller is, and ends those of callers who may not go on.
func (g *Gate) AskAgain(ctx context.Context) {
	g.mu.Lock()
	open := slices.Collect(maps.Values(g.open))
	g.mu.Unlock()
	for _, s := range open {
		if err := g.again(ctx, s); err != nil && ctx.Err() == nil {
			s.cancel(err)
		}
	}
}

func (g *Gate) again(ctx context.Context, s *stream) error {
	now, err := g.caller(WithCredential(ctx, s.brought), s.method)
	if err == nil {
		_, err = g.rules.Check(s.method, now)
	}
	switch errs.CodeOf(err) {
	case errs.CodeUnauthenticated, errs.CodeDenied, errs.CodeNotFound:
		return err
	default: // nothing, or a failure that may pass
	}
	if err != nil {
		if s.unknown++; s.unknown < mostUnknown {
			return nil
		}
		return errs.Unavailable("CALLER_UNKNOWN", "who makes this call cannot be checked just now; call again")
	}
	s.unknown = 0
	if !now.Equal(s.caller) {
		return errs.Unavailable("CALLER_CHANGED", "what you may do here has changed; call again")
	}
	return nil
}
