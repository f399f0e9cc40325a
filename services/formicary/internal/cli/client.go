package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
)

const (
	defaultServer = "127.0.0.1:7777"
	defaultData   = "formicary-data"
	colonyFile    = "colony.json"
	callTime      = 30 * time.Second
)

// target is a server and how it was chosen.
type target struct {
	http, grpc, ops string
	tls             *tls.Config // nil: plain
	trust           trust
	// why names the flag, variable or file that gave the address.
	why string
	// dead is the process that wrote the file and is gone; 0 when it lives or is not known.
	dead int
}

// server is the address as it is named.
func (t target) server() string {
	if t.tls != nil {
		return "https://" + t.http
	}
	return t.http
}

// trust is how a server is recognised: by a certificate that the system trusts or one that is signed by one in the file CA, for the name of
// its address or the one that is given.
type trust struct {
	CA   string `json:"ca,omitempty"`
	Name string `json:"tls_name,omitempty"`
}

func (t trust) tls() (*tls.Config, error) {
	conf, err := pki.Trusting(t.CA)
	if err != nil {
		return nil, usageError(err)
	}
	conf.ServerName = t.Name
	return conf, nil
}

// anywhere is the same from every directory.
func (t trust) anywhere() (trust, error) {
	if t.CA == "" {
		return t, nil
	}
	path, err := filepath.Abs(t.CA)
	if err != nil {
		return t, fmt.Errorf("find the certificates to trust: %w", err)
	}
	return trust{path, t.Name}, nil
}

// shown recognises the server of this machine, whatever its address, by the certificate that it shows.
func shown(cert string) (trust, error) {
	t := trust{CA: cert}
	raw, err := os.ReadFile(cert)
	if err != nil {
		return t, fmt.Errorf("read the certificate of the server: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return t, fmt.Errorf("%s holds no certificate in PEM", cert)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return t, fmt.Errorf("read %s: %w", cert, err)
	}
	if len(leaf.DNSNames) > 0 {
		t.Name = strings.Replace(leaf.DNSNames[0], "*", "formicary", 1)
	}
	return t, nil
}

// silent explains that nothing answered.
func (t target) silent(cause string) string {
	if _, fault, ok := strings.Cut(cause, "x509: "); ok {
		return fmt.Sprintf("formicary: the server at %s (gRPC of %s) shows a certificate that does not count: %s\nTrust the authority that signed it with:  --ca FILE, or FORMICARY_CA",
			t.grpc, t.why, strings.Trim(fault, `"`))
	}
	if t.tls == nil && strings.Contains(cause, "server preface") {
		return fmt.Sprintf("formicary: the server at %s (gRPC of %s) does not speak plainly\nName it with https:// if it has a certificate:  --server https://HOST:PORT", t.grpc, t.why)
	}
	if i := strings.LastIndex(cause, ": "); i >= 0 {
		cause = cause[i+2:]
	}
	s := fmt.Sprintf("formicary: no server answers at %s (gRPC of %s): %s\n", t.grpc, t.why, strings.Trim(cause, `"`))
	if t.dead != 0 {
		s += fmt.Sprintf("The colony that wrote this file (process %d) is not running any more.\n", t.dead)
	}
	return s + "Start one with:  formicary up\nor name another:  --server HOST:PORT, --colony FILE, FORMICARY_SERVER"
}

// named says whether the user named a server, by flag or environment.
func (a *app) named() bool {
	return a.server != "" || a.colony != "" || a.Getenv("FORMICARY_SERVER") != "" || a.Getenv("FORMICARY_COLONY") != ""
}

// flagsOf names the server in a command that is printed, as the user did; the environment goes without saying.
func (a *app) flagsOf() string {
	switch {
	case a.server != "":
		return " --server " + word(a.server)
	case a.colony != "":
		return " --colony " + word(a.colony)
	}
	return ""
}

// target chooses the server.
func (a *app) target() (target, error) {
	switch {
	case a.server != "":
		return a.fromAddress(a.server, "--server", trust{})
	case a.colony != "":
		return a.fromFile(a.colony, "--colony")
	case a.Getenv("FORMICARY_SERVER") != "":
		return a.fromAddress(a.Getenv("FORMICARY_SERVER"), "FORMICARY_SERVER", trust{})
	case a.Getenv("FORMICARY_COLONY") != "":
		return a.fromFile(a.Getenv("FORMICARY_COLONY"), "FORMICARY_COLONY")
	}
	name, acc, ok, err := a.chosen()
	if err != nil {
		return target{}, err
	}
	if ok {
		t, err := a.fromAddress(acc.Server, "context "+name, acc.trust)
		if acc.GRPC != "" {
			t.grpc = acc.GRPC
		}
		return t, err
	}
	if t, err := a.fromFile(filepath.Join(defaultData, colonyFile), "the data directory"); err == nil && t.dead == 0 {
		return t, nil
	}
	return a.fromAddress(defaultServer, "the default address", trust{})
}

// colonyPath is the file for commands that need more than the gateway.
func (a *app) colonyPath() string {
	if a.colony != "" {
		return a.colony
	}
	if file := a.Getenv("FORMICARY_COLONY"); file != "" {
		return file
	}
	return filepath.Join(defaultData, colonyFile)
}

// fromAddress takes the HTTP address of a server; its gRPC port is the next one, its operations port the one after. One that begins with
// https:// is encrypted, and recognised as trust says, with the file of --ca before its own.
func (a *app) fromAddress(addr, from string, known trust) (target, error) {
	addr, secure := strings.CutPrefix(strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/"), "https://")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return target{}, usageError(fmt.Errorf("%s %q: want host:port of the server's HTTP port", from, addr))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || n > 65533 {
		return target{}, usageError(fmt.Errorf("%s %q: the port is not a number", from, addr))
	}
	next := func(by uint64) string { return net.JoinHostPort(host, strconv.FormatUint(n+by, 10)) }
	t := target{http: addr, grpc: next(1), ops: next(2), why: from + " " + addr}
	if g := a.Getenv("FORMICARY_GRPC"); g != "" {
		t.grpc = g
	}
	if secure {
		known.CA = cmp.Or(a.ca, a.Getenv("FORMICARY_CA"), known.CA)
		t.trust = known
		t.tls, err = known.tls()
	} else if a.ca != "" {
		err = usageError(fmt.Errorf("--ca is for a server whose address begins with https://, not for %s", addr))
	}
	return t, err
}

func (a *app) fromFile(path, from string) (target, error) {
	c, err := colony.Load(path, a.Getenv)
	if err != nil {
		return target{}, errs.Unavailable("NO_COLONY", "%s: %s", from, err.Error())
	}
	t := target{http: c.HTTP, grpc: c.GRPC, ops: c.Ops, why: from + " " + path}
	if c.HTTPS != "" {
		if t.trust, err = shown(c.HTTPS); err == nil {
			t.tls, err = t.trust.tls()
		}
		if err != nil {
			return t, err
		}
	}
	if c.PID != 0 && syscall.Kill(c.PID, 0) == syscall.ESRCH {
		t.dead = c.PID
	}
	if t.grpc == "" {
		return t, errs.Unavailable("NO_COLONY", "%s names no gateway", path)
	}
	return t, nil
}

// client is the gateway as the commands use it.
type client struct {
	conn        *grpc.ClientConn
	definitions jobv1.JobDefinitionServiceClient
	requests    jobv1.JobRequestServiceClient
	events      jobv1.EventServiceClient
	executions  executionv1.ExecutionServiceClient
	logs        executionv1.LogServiceClient
	artifacts   executionv1.ArtifactServiceClient
	caches      executionv1.CacheServiceClient
	ants        resourcev1.AntServiceClient
	antIdentity resourcev1.AntIdentityServiceClient
	executors   resourcev1.ExecutorServiceClient
	queue       schedulev1.QueueServiceClient
	approvals   executionv1.ApprovalServiceClient
	errorCodes  jobv1.ErrorCodeServiceClient
	configs     jobv1.ConfigServiceClient
	secrets     jobv1.SecretServiceClient
	quotas      jobv1.QuotaServiceClient
	notices     jobv1.NotificationServiceClient
	orgs        identityv1.OrgServiceClient
	users       identityv1.UserServiceClient
	tokens      identityv1.TokenServiceClient
	sessions    identityv1.SessionServiceClient
}

// dial connects to the chosen server, or to addr when it is not empty.
func (a *app) dial() (*client, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	a.used, a.flags = t, a.flagsOf()
	as, err := a.callerAt(t)
	if err != nil {
		return nil, err
	}
	return dial(t, as)
}

// agent is what the command line calls itself: people who confirm a login see it.
func agent() string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, machine())
	return "formicary (" + name + ")"
}

// dial connects to a gateway.
func dial(t target, as caller) (*client, error) {
	door := insecure.NewCredentials()
	if t.tls != nil {
		door = credentials.NewTLS(t.tls)
	}
	conn, err := rpc.Dial(t.grpc, grpc.WithPerRPCCredentials(as), grpc.WithUserAgent(agent()), grpc.WithTransportCredentials(door))
	if err != nil {
		return nil, err
	}
	return &client{
		conn:        conn,
		definitions: jobv1.NewJobDefinitionServiceClient(conn),
		requests:    jobv1.NewJobRequestServiceClient(conn),
		events:      jobv1.NewEventServiceClient(conn),
		executions:  executionv1.NewExecutionServiceClient(conn),
		logs:        executionv1.NewLogServiceClient(conn),
		artifacts:   executionv1.NewArtifactServiceClient(conn),
		caches:      executionv1.NewCacheServiceClient(conn),
		ants:        resourcev1.NewAntServiceClient(conn),
		antIdentity: resourcev1.NewAntIdentityServiceClient(conn),
		executors:   resourcev1.NewExecutorServiceClient(conn),
		queue:       schedulev1.NewQueueServiceClient(conn),
		approvals:   executionv1.NewApprovalServiceClient(conn),
		errorCodes:  jobv1.NewErrorCodeServiceClient(conn),
		configs:     jobv1.NewConfigServiceClient(conn),
		secrets:     jobv1.NewSecretServiceClient(conn),
		quotas:      jobv1.NewQuotaServiceClient(conn),
		notices:     jobv1.NewNotificationServiceClient(conn),
		orgs:        identityv1.NewOrgServiceClient(conn),
		users:       identityv1.NewUserServiceClient(conn),
		tokens:      identityv1.NewTokenServiceClient(conn),
		sessions:    identityv1.NewSessionServiceClient(conn),
	}, nil
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c caller) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	md := map[string]string{}
	set := func(key, value string) {
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
			key += "-bin" // metadata is printable ASCII otherwise
		}
		if value != "" {
			md[key] = value
		}
	}
	set("x-formicary-org", c.org)
	if c.token != "" {
		md["authorization"] = "Bearer " + c.token
	} else {
		set("x-formicary-user", c.user)
	}
	return md, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: callerAt has decided about it.
func (caller) RequireTransportSecurity() bool { return false }

func (c *client) close() { _ = c.conn.Close() }

// who is the name to act under; empty when it is not known.
func (a *app) who() string {
	if a.user != "" {
		return a.user
	}
	if name := a.Getenv("FORMICARY_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// with dials, calls f with the bounded time of one call, and hangs up.
func (a *app) with(ctx context.Context, f func(context.Context, *client) error) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.close()
	limit := a.timeout
	if limit == 0 {
		limit = callTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx, c)
}

// patiently is with for commands that wait: without --timeout they wait for ever.
func (a *app) patiently(ctx context.Context, f func(context.Context, *client) error) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.close()
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	return f(ctx, c)
}

// pages reads the pages of a list: fetch takes one and returns the token of the next, which is empty after the last.
func pages(fetch func(token string) (next string, err error)) error {
	for token := ""; ; {
		next, err := fetch(token)
		if err != nil || next == "" {
			return err
		}
		token = next
	}
}

// readFile reads a definition; "-" is stdin.
func readFile(path string) (string, error) {
	var raw []byte
	var err error
	if path == "-" {
		raw, err = readAll(os.Stdin)
	} else {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return "", usageError(fmt.Errorf("read definition: %w", err))
	}
	return string(raw), nil
}
