// Command ant runs one ant as a process of its own.
package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/services/ant"
	"github.com/formicary/formicary/services/ant/join"
)

func main() {
	conf := ant.DefaultConfig()
	workers := ant.DefaultBridgeConfig()
	var methods, tags, addr, token string
	flags := func(fs *flag.FlagSet) {
		fs.StringVar(&conf.ID, "id", os.Getenv("FORMICARY_ANT_ID"), "name of the ant, stable over restarts")
		fs.IntVar(&conf.Slots, "slots", conf.Slots, "how many tasks run at once")
		fs.StringVar(&methods, "methods", "", "comma-separated methods; empty for all that this ant can execute")
		fs.StringVar(&tags, "tags", "", "comma-separated tags")
		fs.StringVar(&conf.Dir, "data", os.Getenv("FORMICARY_ANT_DATA"), "directory for spool and working directories; default ant-ID in the colony's data directory")
		fs.StringVar(&token, "join", os.Getenv("FORMICARY_JOIN_TOKEN"), "`TOKEN` of formicary ant token create, with which the ant joins once; later starts need none")
		egress.Flags(fs, &conf.Egress, "HTTP tasks")
		fs.Int64Var(&conf.CacheBytes, "cache-bytes", conf.CacheBytes, "`BYTES` of caches that it keeps copies of on its disk; 0 for none")
		fs.Int64Var(&conf.InputBytes, "input-bytes", conf.InputBytes, "`BYTES` that artifacts and caches may have when they are unpacked for one task")
		ant.DockerFlags(fs, &conf.Docker, os.Getenv("DOCKER_HOST"))
		fs.StringVar(&addr, "workers", os.Getenv("FORMICARY_ANT_WORKERS"), "`ADDRESS` at which workers connect by WebSocket, host:port; empty for none")
		fs.StringVar(&workers.Token, "workers-token", os.Getenv("FORMICARY_WORKERS_TOKEN"), "what workers must present; empty asks for nothing")
		fs.DurationVar(&conf.DrainTimeout, "drain-timeout", conf.DrainTimeout, "how long running tasks may go on after SIGTERM before they get it too")
		fs.DurationVar(&conf.StopTimeout, "stop-timeout", conf.StopTimeout, "the longest grace that a task gets then; 0 kills at once")
	}
	os.Exit(boot.Main("ant", flags, func(ctx context.Context, p *boot.Process) error {
		conf.Methods, conf.Tags = list(methods), list(tags)
		if conf.Dir == "" && conf.ID != "" && p.Colony.DataDir != "" {
			conf.Dir = filepath.Join(p.Colony.DataDir, "ant-"+conf.ID)
		}
		workers.Dir, workers.Reserved = filepath.Join(conf.Dir, "workers"), []string{conf.ID}
		workers.DrainTimeout, workers.StopTimeout = conf.DrainTimeout, conf.StopTimeout
		return wire(ctx, conf, workers, addr, token, p)
	}))
}

func wire(ctx context.Context, conf ant.Config, workers ant.BridgeConfig, addr, token string, p *boot.Process) error {
	if err := conf.Validate(); err != nil {
		return err
	}
	nc, js, err := p.NATS()
	if err != nil {
		return err
	}
	member := join.Ant{ID: conf.ID, Dir: conf.Dir, Token: token, Log: p.Log}
	if member.Address, err = p.Colony.Ant("resource-manager"); err != nil {
		return err
	}
	files, err := member.Open(ctx)
	if err != nil {
		return err
	}
	if files != nil {
		p.IdentifyBy(files)
	} else if err := p.Identify(pki.Name{Kind: pki.Ant, ID: conf.ID}); err != nil {
		return err
	}
	resources, err := p.Peer("resource-manager")
	if err != nil {
		return err
	}
	if files != nil {
		p.Run("certificate", func(ctx context.Context) error { return member.Renew(ctx, files, resources) })
	}
	supervisor, err := p.Peer("supervisor")
	if err != nil {
		return err
	}
	deps := ant.Deps{NATS: nc, JS: js, ResourceManager: resources, Supervisor: supervisor, Log: p.Log, Meter: p.Metrics.Meter("ant")}
	svc, err := ant.New(conf, deps)
	if err != nil {
		return err
	}
	p.Run("ant", svc.Run)
	if addr == "" {
		return nil
	}
	deps.As = p.AsAnt
	bridge, err := ant.NewBridge(workers, deps)
	if err != nil {
		return err
	}
	lis, err := p.Listen(addr)
	if err != nil {
		return err
	}
	p.Run("workers", func(ctx context.Context) error { return bridge.Serve(ctx, lis) })
	return nil
}

func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
