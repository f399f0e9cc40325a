// Command job-manager runs the service job-manager alone. All addresses come from the colony file.
package main

import (
	"context"
	"os"

	"github.com/formicary/formicary/libs/boot"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

func main() { os.Exit(boot.Main("job-manager", nil, wire)) }

func wire(ctx context.Context, p *boot.Process) error {
	pool, err := p.Pool(ctx, jobmanager.Schema)
	if err != nil {
		return err
	}
	if err := jobmanager.Migrate(ctx, pool); err != nil {
		return err
	}
	nc, js, err := p.NATS()
	if err != nil {
		return err
	}
	supervisor, err := p.Peer("supervisor")
	if err != nil {
		return err
	}
	s, err := jobmanager.New(jobmanager.DefaultConfig(), jobmanager.Deps{
		Pool: pool, NATS: nc, JS: js, Supervisor: supervisor, Log: p.Log, Meter: p.Metrics.Meter("job-manager"),
	})
	if err != nil {
		return err
	}
	p.Ops.Ready("database", pool.Ping)
	p.Run("job-manager", s.Run)
	return p.Serve(s.Register)
}
