// Command resource-manager runs one replica of resource-manager.
package main

import (
	"context"
	"os"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/libs/pki"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
)

func main() { os.Exit(boot.Main("resource-manager", nil, wire)) }

func wire(ctx context.Context, p *boot.Process) error {
	pool, err := p.Pool(ctx, "resource")
	if err != nil {
		return err
	}
	if err := resourcemanager.Migrate(ctx, pool); err != nil {
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
	var authority *pki.Authority
	if p.Colony.Authority != "" {
		if authority, err = pki.OpenAuthority(p.Colony.Authority); err != nil {
			return err
		}
	}
	svc, err := resourcemanager.New(resourcemanager.DefaultConfig(), resourcemanager.Deps{
		Pool: pool, NATS: nc, JS: js, Supervisor: supervisor, Authority: authority, Log: p.Log, Meter: p.Metrics.Meter("resource-manager"),
	})
	if err != nil {
		return err
	}
	p.Ops.Ready("database", pool.Ping)
	p.Run("resource-manager", svc.Run)
	if err := p.ServeAnts(svc.Register, svc.Gone); err != nil {
		return err
	}
	return p.Serve(svc.Register)
}
