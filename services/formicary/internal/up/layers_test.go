package up

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/formicary/formicary/libs/run"
)

// recorder notes the order in which members end.
type recorder struct {
	mu    sync.Mutex
	ended []string
}

func (r *recorder) member(name string) run.Member {
	return run.Member{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = append(r.ended, name)
		return nil
	}}
}

func TestLayersEndFromTheTop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r recorder
	err := orderly(ctx, nil, [][]run.Member{{r.member("stores")}, {r.member("services")}, {r.member("gateway")}})
	if want := []string{"gateway", "services", "stores"}; err != nil || !slices.Equal(r.ended, want) {
		t.Errorf("ended %v, %v; want %v", r.ended, err, want)
	}
}

func TestFailedLayerEndsEverything(t *testing.T) {
	boom := errors.New("boom")
	for i, name := range []string{"stores", "services", "gateway"} {
		var r recorder
		layers := [][]run.Member{{r.member("stores")}, {r.member("services")}, {r.member("gateway")}}
		layers[i] = append(layers[i], run.Member{Name: "bad", Run: func(context.Context) error { return boom }})
		err := orderly(t.Context(), nil, layers)
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), "bad") {
			t.Errorf("failure in %s: got %v", name, err)
		}
		if want := []string{"gateway", "services", "stores"}; len(r.ended) != len(want) {
			t.Errorf("failure in %s: only %v ended", name, r.ended)
		}
	}
}

func TestMemberThatEndsByItselfIsAFailure(t *testing.T) {
	err := orderly(t.Context(), nil, [][]run.Member{{{Name: "quitter", Run: func(context.Context) error { return nil }}}})
	if err == nil || !strings.Contains(err.Error(), "quitter") {
		t.Errorf("got %v", err)
	}
}
