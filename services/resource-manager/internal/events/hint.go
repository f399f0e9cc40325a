// Package events tells others that ants changed.
package events

import (
	"log/slog"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

const subject = "formicary.live.ant"

// Hints publishes AntChanged. It is a hint: who misses it looks by itself a little later.
type Hints struct {
	nc  *nats.Conn
	log *slog.Logger
}

// NewHints returns hints on nc.
func NewHints(nc *nats.Conn, log *slog.Logger) *Hints { return &Hints{nc: nc, log: log} }

// Changed says that an ant is in this state now.
func (h *Hints) Changed(id string, state ant.State) {
	payload, err := proto.Marshal(&resourcev1.AntChanged{AntId: id, State: State(state)})
	if err == nil {
		err = h.nc.Publish(subject, payload)
	}
	if err != nil {
		h.log.Debug("hint is lost", "ant", id, "error", err)
	}
}

// State on the wire.
func State(s ant.State) resourcev1.Ant_State {
	switch s {
	case ant.Online:
		return resourcev1.Ant_ONLINE
	case ant.Draining:
		return resourcev1.Ant_DRAINING
	case ant.Offline:
		return resourcev1.Ant_OFFLINE
	default:
		return resourcev1.Ant_STATE_UNSPECIFIED
	}
}
