// Command job-manager runs the service job-manager alone. All addresses come from the colony file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/keyring"
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

// openRing opens the key ring, if there is one. Only that of an embedded colony is rotated from here: every replica has the
// same file.
func openRing(deps *jobmanager.Deps, col colony.Colony) error {
	if col.KeyRing == "" {
		deps.Log.Warn("there is no key ring (FORMICARY_KEYRING): no secret can be stored or read")
		return nil
	}
	ring, err := keyring.OpenFile(col.KeyRing)
	if err != nil {
		return fmt.Errorf("open the key ring of secrets: %w", err)
	}
	deps.Keys = ring
	if col.DataDir != "" && filepath.Dir(col.KeyRing) == filepath.Clean(col.DataDir) {
		deps.RotateKeys = ring.Rotate
	}
	return nil
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
	deps := jobmanager.Deps{Pool: pool, NATS: nc, JS: js, Supervisor: supervisor, Log: p.Log, Meter: p.Metrics.Meter("job-manager")}
	if err := openRing(&deps, p.Colony); err != nil {
		return err
	}
	s, err := jobmanager.New(conf, deps)
	if err != nil {
		return err
	}
	p.Ops.Ready("database", pool.Ping)
	p.Run("job-manager", s.Run)
	return p.Serve(s.Register)
}
