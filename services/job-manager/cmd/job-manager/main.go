// Command job-manager runs the service job-manager alone. All addresses come from the colony file.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/libs/egress"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

func main() {
	conf := jobmanager.DefaultConfig()
	var fault error
	flags := func(fs *flag.FlagSet) {
		fault = conf.Notify.Environment(os.Getenv)
		egress.Flags(fs, &conf.Notify.Egress, "webhooks")
		fs.StringVar(&conf.Notify.PublicURL, "url", conf.Notify.PublicURL, "`URL` at which people reach the gateway, for links in messages")
	}
	os.Exit(boot.Main("job-manager", flags, func(ctx context.Context, p *boot.Process) error {
		if fault != nil {
			return fault
		}
		return wire(ctx, conf, p)
	}))
}

func wire(ctx context.Context, conf jobmanager.Config, p *boot.Process) error {
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
	s, err := jobmanager.New(conf, jobmanager.Deps{
		Pool: pool, NATS: nc, JS: js, Supervisor: supervisor, Log: p.Log, Meter: p.Metrics.Meter("job-manager"),
	})
	if err != nil {
		return err
	}
	p.Ops.Ready("database", pool.Ping)
	p.Run("job-manager", s.Run)
	return p.Serve(s.Register)
}
