// Command api-gateway runs the gateway as a process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/libs/egress"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

func main() {
	conf := apigateway.DefaultConfig()
	providers := ""
	flags := func(fs *flag.FlagSet) {
		fs.Var(&conf.Limits.Address, "rate-address", "`CALLS/BURST`: how many calls a second an address may make in the long run, and at once; 0 for any number. Example: --rate-address 100/500")
		fs.Var(&conf.Limits.Credential, "rate-credential", "`CALLS/BURST` of a token or session")
		fs.Var(&conf.Limits.Org, "rate-org", "`CALLS/BURST` of an organisation")
		fs.IntVar(&conf.Limits.Streams, "streams-per-user", conf.Limits.Streams, "how many streams of events and logs one user has open at once in an organisation; 0 for any number")
		fs.BoolVar(&conf.Auth, "auth", os.Getenv("FORMICARY_AUTH") == "true", "demand that callers prove who they are; needed to listen elsewhere than on loopback ($FORMICARY_AUTH=true)")
		fs.StringVar(&conf.HTTPSCert, "https-cert", os.Getenv("FORMICARY_HTTPS_CERT"), "`FILE` with the certificate, in PEM with its chain, that both ports for people show ($FORMICARY_HTTPS_CERT)")
		fs.StringVar(&conf.HTTPSKey, "https-key", os.Getenv("FORMICARY_HTTPS_KEY"), "`FILE` with its key ($FORMICARY_HTTPS_KEY)")
		fs.BoolVar(&conf.Proxied, "proxied", os.Getenv("FORMICARY_PROXIED") == "true", "a proxy before it encrypts what comes from other machines: without it or a certificate only loopback is listened on ($FORMICARY_PROXIED=true)")
		fs.BoolVar(&conf.LocalUsers, "local-users", os.Getenv("FORMICARY_LOCAL_USERS") == "true", "let users have passwords that are kept here ($FORMICARY_LOCAL_USERS=true)")
		fs.StringVar(&providers, "oidc", os.Getenv("FORMICARY_OIDC_FILE"), "`FILE` (JSON) of the providers of OpenID Connect where people may log in; FORMICARY_OIDC_PROVIDERS and FORMICARY_OIDC_<NAME>_… say more. Example: --oidc /etc/formicary/oidc.json")
		egress.Flags(fs, &conf.Egress, "logins at providers")
		fs.StringVar(&conf.URL, "url", os.Getenv("FORMICARY_URL"), "`URL` at which browsers find the gateway; where they ask, unless given. Example: --url https://ci.example.com")
		fs.StringVar(&conf.Workers, "workers", os.Getenv("FORMICARY_WORKERS"), "`ADDRESS` of the ant that serves workers (ant --workers), host:port, or of several, separated by commas; empty for none")
	}
	os.Exit(boot.Main("api-gateway", flags, func(ctx context.Context, p *boot.Process) error {
		var err error
		if conf.Providers, err = apigateway.ReadProviders(providers, os.Getenv); err != nil {
			return err
		}
		return wire(ctx, conf, p)
	}))
}

func wire(ctx context.Context, conf apigateway.Config, p *boot.Process) error {
	deps := apigateway.Deps{Log: p.Log, Meter: p.Metrics.Meter("api-gateway")}
	var err error
	if deps.Pool, err = p.Pool(ctx, apigateway.Schema); err != nil {
		return err
	}
	if err := apigateway.Migrate(ctx, deps.Pool); err != nil {
		return err
	}
	if deps.Identity, deps.Roots, err = p.Identity(); err != nil {
		return err
	}
	if deps.NATS, _, err = p.NATS(); err != nil {
		return err
	}
	for name, conn := range map[string]*grpc.ClientConnInterface{
		"job-manager": &deps.JobManager, "resource-manager": &deps.ResourceManager, "scheduler": &deps.Scheduler, "supervisor": &deps.Supervisor,
	} {
		if *conn, err = p.Peer(name); err != nil {
			return err
		}
	}
	if p.Colony.HTTP == "" || p.Colony.GRPC == "" {
		return errors.New("no addresses to listen on: name a colony file, or set FORMICARY_HTTP and FORMICARY_GRPC")
	}
	if deps.HTTP, err = p.Listen(p.Colony.HTTP); err != nil {
		return err
	}
	if deps.GRPC, err = p.Listen(p.Colony.GRPC); err != nil {
		return err
	}
	gateway, err := apigateway.New(conf, deps)
	if err != nil {
		return err
	}
	code, err := gateway.Bootstrap(ctx)
	if err != nil {
		return err
	}
	if code != "" { // to whoever starts it, never to the log
		fmt.Fprintf(os.Stderr, "Nobody administers this colony yet. Within an hour, this code makes you its administrator, once:\n\n  %s\n\nby  formicary login --bootstrap --user NAME\n", code)
	}
	p.OpsAt(p.Colony.Ops)
	p.Ops.Ready("colony", gateway.Ready)
	p.Run("api-gateway", gateway.Run)
	return nil
}
