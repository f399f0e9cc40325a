package events

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/peer"
)

// children takes the ends of jobs that tasks forked.
func (c *Consumer) children(ctx context.Context, items []bus.Item[[]child.Ended]) error {
	var all []child.Ended
	for _, it := range items {
		all = append(all, it.Value...)
	}
	if err := c.Children(ctx, all); err != nil {
		return err
	}
	ack(items)
	return nil
}

func parseChildren(payload []byte) ([]child.Ended, error) {
	var e jobv1.ChildrenEnded
	if err := proto.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	all := make([]child.Ended, 0, len(e.GetChildren()))
	for _, m := range e.GetChildren() {
		ended, err := peer.ReadChild(m)
		if err != nil {
			return nil, err
		}
		if !ended.Terminal {
			return nil, fmt.Errorf("child %s has not ended: it is %s", ended.Key, ended.State)
		}
		all = append(all, ended)
	}
	return all, nil
}
