package up

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/formicary/formicary/libs/access"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
)

const (
	readyWithin = 30 * time.Second
	readyPoll   = 10 * time.Millisecond
)

// checks tells the operations port what ready means; the gateway adds that NATS and every service answer.
func (c *composition) checks() {
	c.ops.Ready("start", func(context.Context) error {
		select {
		case <-c.started:
			return nil
		default:
			return errors.New("the colony is starting")
		}
	})
	for name, pool := range c.pools {
		c.ops.Ready("database of "+name, pool.Ping)
	}
}

// await returns when the colony takes work: the scheduler leads and the ant is registered.
func (c *composition) await(ctx context.Context) error {
	limit := time.NewTimer(readyWithin)
	defer limit.Stop()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := c.takesWork(ctx)
		if err == nil {
			close(c.started)
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-limit.C:
			return fmt.Errorf("not ready after %s: %w", readyWithin, err)
		case <-tick.C:
		}
	}
}

func (c *composition) takesWork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ctx = access.With(ctx, access.Caller{Kind: access.Person, Org: "default", User: "local", Roles: []string{access.PlatformAdmin}})
	state, err := schedulev1.NewQueueServiceClient(c.peers["scheduler"]).GetScheduler(ctx, &schedulev1.GetSchedulerRequest{})
	if err != nil {
		return fmt.Errorf("ask the scheduler: %w", err)
	}
	if !state.GetLeading() {
		return errors.New("the scheduler does not lead yet")
	}
	if c.conf.NoAnt {
		return nil
	}
	res, err := resourcev1.NewAntServiceClient(c.peers["resource-manager"]).GetAnt(ctx, &resourcev1.GetAntRequest{Id: c.conf.AntID})
	if err != nil {
		return fmt.Errorf("ask for ant %s: %w", c.conf.AntID, err)
	}
	// The session of a killed predecessor may live on for a while.
	if x := res.GetAnt(); x.GetState() == resourcev1.Ant_OFFLINE || x.GetRegisteredAt().AsTime().Before(c.began) {
		return fmt.Errorf("ant %s has not registered yet", c.conf.AntID)
	}
	return nil
}
