package events

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
)

// What a peer answers comes as rpc makes it of a status.
func TestFaultsOfPeers(t *testing.T) {
	c := &Consumer{Temporary: pg.Temporary}
	for code, want := range map[codes.Code]bus.Fault{
		codes.Unavailable: bus.Away, codes.DeadlineExceeded: bus.Slow, codes.ResourceExhausted: bus.Slow, codes.Internal: bus.Opaque,
		codes.InvalidArgument: bus.Content,
	} {
		err := fmt.Errorf("ask: %w", rpc.FromStatus(status.Error(code, "no")))
		if got := c.fault(err); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
	if got := c.fault(errors.New("its plan is bad")); got != bus.Content {
		t.Errorf("%d", got)
	}
}
