// Command ant runs one ant as a process of its own.
package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/services/ant"
)

func main() {
	conf := ant.DefaultConfig()
	var methods, tags string
	flags := func(fs *flag.FlagSet) {
		fs.StringVar(&conf.ID, "id", os.Getenv("FORMICARY_ANT_ID"), "name of the ant, stable over restarts")
		fs.IntVar(&conf.Slots, "slots", conf.Slots, "how many tasks run at once")
		fs.StringVar(&methods, "methods", "", "comma-separated methods; empty for all that this ant can execute")
		fs.StringVar(&tags, "tags", "", "comma-separated tags")
		fs.StringVar(&conf.Dir, "data", os.Getenv("FORMICARY_ANT_DATA"), "directory for spool and working directories; default ant-ID in the colony's data directory")
		fs.BoolVar(&conf.AllowPrivate, "allow-private", false, "let HTTP tasks reach this host and private networks")
		fs.DurationVar(&conf.DrainTimeout, "drain-timeout", conf.DrainTimeout, "how long running tasks may go on after SIGTERM")
	}
	os.Exit(boot.Main("ant", flags, func(_ context.Context, p *boot.Process) error {
		conf.Methods, conf.Tags = list(methods), list(tags)
		if conf.Dir == "" && conf.ID != "" && p.Colony.DataDir != "" {
			conf.Dir = filepath.Join(p.Colony.DataDir, "ant-"+conf.ID)
		}
		return wire(conf, p)
	}))
}

func wire(conf ant.Config, p *boot.Process) error {
	nc, js, err := p.NATS()
	if err != nil {
		return err
	}
	resources, err := p.Peer("resource-manager")
	if err != nil {
		return err
	}
	supervisor, err := p.Peer("supervisor")
	if err != nil {
		return err
	}
	svc, err := ant.New(conf, ant.Deps{NATS: nc, JS: js, ResourceManager: resources, Supervisor: supervisor, Log: p.Log, Meter: p.Metrics.Meter("ant")})
	if err != nil {
		return err
	}
	p.Run("ant", svc.Run)
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
