package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/libs/telemetry"
	"github.com/formicary/formicary/services/ant"
	"github.com/formicary/formicary/services/ant/join"
)

func (a *app) antStartCmd() *cobra.Command {
	conf := ant.DefaultConfig()
	conf.Version = a.Version
	var level, format, token string
	c := &cobra.Command{
		Use: "start", Short: "Run an ant in this process", Args: cobra.NoArgs,
		Long: `Run an ant in this process. The colony must be reachable: "formicary up --expose" writes its addresses, elsewhere
FORMICARY_RESOURCE_MANAGER_ANTS_ADDR, FORMICARY_SUPERVISOR_ANTS_ADDR and FORMICARY_NATS_URL name them.
With --join the ant belongs to the organisation and pool of the token: it keeps a key and a certificate of its own below --data
and renews that, so that later starts need no token. Without it the ant must be able to read the colony's authority.`,
		Example: `  formicary ant start --colony formicary-data/colony.json --id ant-2 --tags gpu
  formicary ant start --id ant-3 --data /var/lib/ant-3 --join "$(formicary ant token create -q)"`,
		RunE: func(c *cobra.Command, _ []string) error {
			a.heard()
			return a.startAnt(c.Context(), conf, token, level, format)
		},
	}
	f := c.Flags()
	f.StringVar(&conf.ID, "id", conf.ID, "`name` of the ant, the same after a restart")
	f.StringVar(&token, "join", a.Getenv("FORMICARY_JOIN_TOKEN"), "`TOKEN` of formicary ant token create, with which the ant joins the colony; once spent it is passed over")
	f.IntVar(&conf.Slots, "slots", conf.Slots, "tasks it runs at once")
	f.StringSliceVar(&conf.Methods, "methods", conf.Methods, "methods it executes; all that it can unless given")
	f.StringSliceVar(&conf.Tags, "tags", conf.Tags, "tags it owns")
	f.StringToStringVar(&conf.Labels, "labels", nil, "labels for people: name=value,…")
	f.StringVar(&conf.Dir, "data", "", "`directory` of its spool and of the tasks; ant-ID in the colony's data directory unless given")
	f.DurationVar(&conf.DrainTimeout, "drain-timeout", conf.DrainTimeout, "the `time` that running tasks may go on at the end, before they get TERM, their grace and after_script")
	f.DurationVar(&conf.StopTimeout, "stop-timeout", conf.StopTimeout, "the longest `grace` that a task gets then; 0 kills at once")
	f.Int64Var(&conf.CacheBytes, "cache-bytes", conf.CacheBytes, "`BYTES` of caches that it keeps copies of on its disk; 0 for none")
	f.Int64Var(&conf.InputBytes, "input-bytes", conf.InputBytes, "`BYTES` that artifacts and caches may have when they are unpacked for one task")
	addDockerFlags(f, &conf.Docker, a.Getenv)
	web := flag.NewFlagSet("", flag.ContinueOnError)
	egress.Flags(web, &conf.Egress, "HTTP tasks")
	f.AddGoFlagSet(web)
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "text or json")
	return c
}

// addDockerFlags adds the settings of the engine of DOCKER tasks.
func addDockerFlags(f *pflag.FlagSet, conf *ant.DockerConfig, getenv func(string) string) {
	engine := flag.NewFlagSet("", flag.ContinueOnError)
	ant.DockerFlags(engine, conf, getenv("DOCKER_HOST"))
	f.AddGoFlagSet(engine)
}

func (a *app) startAnt(ctx context.Context, conf ant.Config, token, level, format string) error {
	t, err := a.colonyOf()
	if err != nil {
		return err
	}
	log, err := logger(a.Err, level, format)
	if err != nil {
		return usageError(err)
	}
	if conf.Dir == "" && conf.ID != "" && t.DataDir != "" {
		conf.Dir = filepath.Join(t.DataDir, "ant-"+conf.ID)
	}
	if err := conf.Validate(); err != nil {
		return usageError(err)
	}
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		return err
	}
	if t.NATS == "" {
		return &exit{exitUnavailable, errors.New("the colony is not exposed to other processes: start it with `formicary up --expose`")}
	}
	nc, err := bus.Connect(t.NATS, conf.ID)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := bus.JetStream(nc)
	if err != nil {
		return err
	}
	member := join.Ant{ID: conf.ID, Dir: conf.Dir, Token: token, Log: log}
	if member.Address, err = t.Ant("resource-manager"); err != nil {
		return &exit{exitUnavailable, err}
	}
	files, err := member.Open(ctx)
	if err != nil {
		return err
	}
	var options func(service string) []grpc.DialOption
	if files != nil {
		options = optionsBy(files.Source, files.Roots)
	} else if options, err = optionsFor(t, pki.Name{Kind: pki.Ant, ID: conf.ID}); err != nil {
		return err
	}
	deps := ant.Deps{NATS: nc, JS: js, Log: log, Meter: metrics.Meter("ant")}
	for name, to := range map[string]*grpc.ClientConnInterface{"resource-manager": &deps.ResourceManager, "supervisor": &deps.Supervisor} {
		addr, err := t.Ant(name)
		if err != nil {
			return &exit{exitUnavailable, err}
		}
		conn, err := rpc.Dial(addr, options(name)...)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		*to = conn
	}
	svc, err := ant.New(conf, deps)
	if err != nil {
		return usageError(err)
	}
	printf(a.Err, "ant %s serves the colony at %s; Ctrl-C drains it, a second one kills what runs\n", conf.ID, member.Address)
	if files == nil {
		return svc.Run(ctx)
	}
	return run.Group(ctx,
		run.Member{Name: "ant", Run: svc.Run},
		run.Member{Name: "certificate", Run: func(ctx context.Context) error { return member.Renew(ctx, files, deps.ResourceManager) }},
	)
}

// optionsFor returns those of the connections of a part of a colony on this machine, by the service that they lead to.
func optionsFor(col colony.Colony, name pki.Name) (func(service string) []grpc.DialOption, error) {
	if col.Authority == "" {
		return nil, &exit{exitUnavailable, errors.New("the colony names no authority: start it with `formicary up --expose`")}
	}
	authority, err := pki.OpenAuthority(col.Authority)
	if err != nil {
		return nil, err
	}
	source, err := authority.Renewing(name, pki.ServiceLife)
	if err != nil {
		return nil, err
	}
	return optionsBy(source, authority.Roots), nil
}

// optionsBy is optionsFor with an identity that is known.
func optionsBy(source pki.Source, roots pki.Roots) func(service string) []grpc.DialOption {
	issuer := passport.NewIssuer(source, access.ReadRules(protoregistry.GlobalFiles))
	return func(service string) []grpc.DialOption {
		return []grpc.DialOption{
			grpc.WithPerRPCCredentials(issuer),
			rpc.WithTLS(func() *tls.Config { return pki.ClientTLS(source, roots, service) }),
		}
	}
}

// colonyOf reads the addresses of the stores and services.
func (a *app) colonyOf() (colony.Colony, error) {
	path := a.colonyPath()
	if _, err := os.Stat(path); err != nil && a.colony == "" && a.Getenv("FORMICARY_RESOURCE_MANAGER_ANTS_ADDR") != "" {
		path = "" // the environment says it all
	}
	col, err := colony.Load(path, a.Getenv)
	if err != nil {
		return col, &exit{exitUnavailable, err}
	}
	return col, nil
}
