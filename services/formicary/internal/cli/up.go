package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/telemetry"
	"github.com/formicary/formicary/services/formicary/internal/up"
)

func (a *app) upCmd() *cobra.Command {
	conf := up.DefaultConfig()
	conf.Version, conf.Getenv = a.Version, a.Getenv
	var only, level, format string
	c := &cobra.Command{
		Use: "up", Short: "Start the whole colony in this process",
		Long: `Start the whole colony in this process: PostgreSQL, NATS, etcd, S3, all services and one ant. Its state lies in
the data directory and survives a restart. On a loopback address nobody has to log in: callers are the local administrator.
--auth demands that they prove who they are. Any other address demands --auth, and --https-cert with --https-key, or --proxied where
something before it encrypts. The first start with it prints a code that
makes its first administrator: formicary login --bootstrap. --local-users lets users have passwords; --oidc FILE, and variables
FORMICARY_OIDC_PROVIDERS and FORMICARY_OIDC_<NAME>_ISSUER and others, name providers of OpenID Connect where people log in.

Mail and Slack are reached as the environment says: FORMICARY_SMTP_HOST, _PORT, _TLS (mandatory, opportunistic, none),
_USERNAME, _PASSWORD or _PASSWORD_FILE, _FROM; FORMICARY_SLACK_TOKEN or _TOKEN_FILE; FORMICARY_URL is what links in
messages begin with. FORMICARY_NOTIFY_ALLOW_PRIVATE=false keeps webhooks from this host and private networks.

SIGTERM, SIGINT, SIGHUP and SIGQUIT stop it: nothing more begins, running tasks may end by themselves for --drain-timeout,
then they get TERM, their grace and after_script, and run again when the colony is back. A second signal kills them.

With --only=infra --expose only the stores are started, for services that run as processes of their own; their
addresses are in DATA/colony.json. With --expose alone more services and ants can join the colony.`,
		Example: "  formicary up\n  formicary up --data /var/lib/formicary --listen 127.0.0.1:0\n" +
			"  formicary up --listen 0.0.0.0:7777 --auth --local-users --https-cert ci.pem --https-key ci.key\n  formicary up --auth --oidc oidc.json\n  formicary up --only=infra --expose",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch only {
			case "":
			case "infra":
				conf.InfraOnly = true
			default:
				return usageError(fmt.Errorf("--only %q: want infra", only))
			}
			if err := conf.Validate(); err != nil {
				return usageError(err)
			}
			conf.Bootstrap = a.tellBootstrap
			a.heard()
			log, err := logger(a.Err, level, format)
			if err != nil {
				return usageError(err)
			}
			col, err := up.New(conf, log)
			if err != nil {
				return usageError(err)
			}
			if a.Getenv("GOGC") == "" {
				debug.SetGCPercent(gcPercent)
			}
			return a.up(c.Context(), col, conf)
		},
	}
	f := c.Flags()
	f.StringVar(&conf.DataDir, "data", conf.DataDir, "data `directory`")
	f.StringVar(&conf.Listen, "listen", conf.Listen, "HTTP `address`; gRPC takes the next port, operations the one after; port 0 takes free ones")
	f.StringVar(&only, "only", "", "start only a `part`: infra")
	f.BoolVar(&conf.Expose, "expose", false, "let other processes on this machine reach the stores and the services")
	f.IntVar(&conf.Slots, "slots", 0, "slots of the ant; 0 means 8 per core, at least 32")
	f.StringSliceVar(&conf.Tags, "tags", nil, "tags that the ant owns, for tasks that ask for them: a,b")
	f.StringToStringVar(&conf.Labels, "labels", nil, "labels of the ant, for people: name=value,…")
	f.BoolVar(&conf.Auth, "auth", false, "demand that callers prove who they are; needed to listen elsewhere than on loopback")
	f.StringVar(&conf.HTTPSCert, "https-cert", a.Getenv("FORMICARY_HTTPS_CERT"), "`file` with the certificate (PEM, with its chain) that the HTTP and gRPC ports show")
	f.StringVar(&conf.HTTPSKey, "https-key", a.Getenv("FORMICARY_HTTPS_KEY"), "`file` with its key")
	f.BoolVar(&conf.Proxied, "proxied", a.Getenv("FORMICARY_PROXIED") == "true", "a proxy before it encrypts what comes from other machines")
	f.BoolVar(&conf.LocalUsers, "local-users", false, "let users have passwords that are kept here")
	f.StringVar(&conf.OIDC, "oidc", a.Getenv("FORMICARY_OIDC_FILE"), "`FILE` (JSON) that names providers of OpenID Connect where people log in")
	f.BoolVar(&conf.NoAnt, "no-ant", false, "start no ant")
	f.DurationVar(&conf.DrainTimeout, "drain-timeout", conf.DrainTimeout, "the `time` that running tasks may go on at the end, before they get TERM, their grace and after_script")
	f.Int64Var(&conf.CacheBytes, "cache-bytes", conf.CacheBytes, "`BYTES` of caches that the ant keeps copies of on its disk; 0 for none")
	f.Int64Var(&conf.CacheQuota, "cache-quota", conf.CacheQuota, "`BYTES` that the caches of jobs may have; beyond it the least recently used are deleted")
	f.Int64Var(&conf.ArtifactBytes, "artifact-bytes", conf.ArtifactBytes, "`BYTES` that one artifact may have; larger ones are refused")
	f.Int64Var(&conf.InputBytes, "input-bytes", conf.InputBytes, "`BYTES` that artifacts and caches may have when they are unpacked for one task")
	addDockerFlags(f, &conf.Docker, a.Getenv)
	f.StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "text or json")
	return c
}

// up runs the colony until it is interrupted.
func (a *app) up(ctx context.Context, col *up.Colony, conf up.Config) error {
	began, ready := time.Now(), false
	err := col.Run(ctx, func(at colony.Colony) {
		ready = true
		context.AfterFunc(ctx, func() {
			printf(a.Err, "stopping: tasks that run get %s to end, then TERM and their grace; once more to kill them\n", conf.DrainTimeout)
		})
		a.welcome(at, conf, time.Since(began))
	})
	switch {
	case ctx.Err() != nil && !ready: // whatever failed then failed because of it
		line(a.Err, "stopped before the colony was up")
		return &exit{code: exitDetached}
	case err != nil:
		return &exit{exitFailed, err}
	case ctx.Err() != nil:
		line(a.Err, "stopped")
	}
	return nil
}

// gcPercent lets the heap grow further than Go's default before it is collected: a colony's live heap is small and its
// garbage is much, so this costs some tens of MiB and saves several percent of the processor. GOGC overrides it.
const gcPercent = 200

func logger(w io.Writer, level, format string) (*slog.Logger, error) {
	return telemetry.Logger(w, level, format)
}

// word makes one word of s for a shell.
func word(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+:@%,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// tellBootstrap shows, once, the code that makes the first platform-admin.
func (a *app) tellBootstrap(code string) {
	printf(a.Err, `Nobody administers this colony yet. Within an hour, this code makes you its administrator, once:

  %s

by  formicary login --bootstrap --user NAME
`, code)
}

// welcome says where the colony is and what to do next.
func (a *app) welcome(at colony.Colony, conf up.Config, took time.Duration) {
	file := word(filepath.Join(at.DataDir, colonyFile))
	if conf.InfraOnly {
		printf(a.Err, `The stores are up in %s.
  addresses   %s
Start the services, each as a process of its own:
  job-manager --colony %s
  … resource-manager, scheduler, supervisor, api-gateway, ant --id NAME
`, span(took), file, file)
		return
	}
	// A client finds gRPC at the port after that of HTTP; with free ports only the file knows it, and for whom a certificate is.
	server := "--server " + at.HTTP
	if next, err := a.fromAddress(at.HTTP, "", trust{}); err != nil || next.grpc != at.GRPC || at.HTTPS != "" {
		server = "--colony " + file
	}
	printf(a.Err, `The colony is up in %s.
  REST        %s
  gRPC        %s
  operations  http://%s/readyz, /metrics
  data        %s
Try next:
  formicary run FILE %s
  formicary request list %s
%s
Ctrl-C stops it: running tasks get TERM after %s and then their grace, a second one kills them. The same data directory brings it back.
`, span(took), at.URL(), at.GRPC, at.Ops, at.DataDir, server, server, who(conf.Auth), conf.DrainTimeout)
}

// who says as whom callers act.
func who(auth bool) string {
	if auth {
		return "Callers prove who they are: formicary login."
	}
	return "Nobody has to log in here: callers act as the local administrator. --auth changes that."
}
