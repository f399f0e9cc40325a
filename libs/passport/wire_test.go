package passport_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
)

// served starts a server on loopback and returns its address.
func served(t *testing.T, admit rpc.Admit, conf *tls.Config) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := rpc.NewServer(slog.New(slog.DiscardHandler), admit, grpc.Creds(credentials.NewTLS(conf)))
	testkit.Run(t, func(ctx context.Context) error { return rpc.Serve(ctx, server, lis, time.Second) })
	return lis.Addr().String()
}

// asks calls the server and returns what became of it.
func asks(ctx context.Context, addr string, opts ...grpc.DialOption) error {
	conn, err := rpc.Dial(addr, opts...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func client(source pki.Source, roots pki.Roots, service string) grpc.DialOption {
	return rpc.WithTLS(func() *tls.Config { return pki.ClientTLS(source, roots, service) })
}

// TestOnlyCertificatesOfTheColonyConnect: plaintext, no certificate, a self-signed one, one of another authority, one that
// has expired, one of the wrong kind and a server of another name are refused in the handshake.
func TestOnlyCertificatesOfTheColonyConnect(t *testing.T) {
	a, other := authority(t), authority(t)
	server, scheduler, ant := identity(t, a, pki.Service, "supervisor"), identity(t, a, pki.Service, "scheduler"), identity(t, a, pki.Ant, "ant-1")
	admit := passport.NewChecker(a.Roots, rules, nil).AdmitServices
	addr := served(t, admit, pki.ServerTLS(pki.Fixed(server), a.Roots, pki.Service))
	expired, err := a.Issue(scheduler.Name, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	bare := func(conf *tls.Config) grpc.DialOption { return rpc.WithTLS(func() *tls.Config { return conf }) }
	for name, c := range map[string]struct {
		with grpc.DialOption
		ok   bool
	}{
		"a service":                       {client(pki.Fixed(scheduler), a.Roots, "supervisor"), true},
		"another server's name":           {client(pki.Fixed(scheduler), a.Roots, "job-manager"), false},
		"a server of another authority":   {client(pki.Fixed(scheduler), other.Roots, "supervisor"), false},
		"a client of another authority":   {client(pki.Fixed(identity(t, other, pki.Service, "scheduler")), a.Roots, "supervisor"), false},
		"a client that has expired":       {client(pki.Fixed(expired), a.Roots, "supervisor"), false},
		"a client that signed for itself": {client(pki.Fixed(selfSigned(t, "scheduler")), a.Roots, "supervisor"), false},
		"an ant":                          {client(pki.Fixed(ant), a.Roots, "supervisor"), false},
		"no certificate":                  {bare(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.Roots(), ServerName: "supervisor"}), false},
		"TLS 1.2":                         {bare(&tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, RootCAs: a.Roots(), ServerName: "supervisor", Certificates: []tls.Certificate{*scheduler.TLS()}}), false},
		"plaintext":                       {grpc.WithTransportCredentials(insecure.NewCredentials()), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := asks(t.Context(), addr, c.with); (err == nil) != c.ok {
				t.Errorf("%v, want success %v", err, c.ok)
			}
		})
	}
}

func selfSigned(t *testing.T, name string) *pki.Identity {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := &pki.Identity{Name: pki.Name{Kind: pki.Service, ID: name}, Key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id.Name.URI()},
		DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	if id.Cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestAntsAndServicesHaveDoorsOfTheirOwn: neither is answered at the door of the other, whatever its credentials.
func TestAntsAndServicesHaveDoorsOfTheirOwn(t *testing.T) {
	a := authority(t)
	checker := passport.NewChecker(a.Roots, rules, nil)
	ant, scheduler := identity(t, a, pki.Ant, "ant-1"), identity(t, a, pki.Service, "scheduler")
	for _, c := range []struct {
		admit  rpc.Admit
		by     *pki.Identity
		method string
		reason string
	}{
		{checker.AdmitServices, scheduler, "/s/Internal", ""},
		{checker.AdmitServices, ant, "/s/Ant", "METHOD_ANT"},
		{checker.AdmitServices, ant, "/formicary.ant.v1.X/Y", "METHOD_ANT"},
		{checker.AdmitAnts, ant, "/s/Ant", ""},
		{checker.AdmitAnts, scheduler, "/s/Internal", "METHOD_CLOSED"},
		{checker.AdmitAnts, scheduler, "/s/Ant", "METHOD_CLOSED"},
		{checker.AdmitAnts, ant, "/s/Public", "METHOD_CLOSED"},
		{checker.AdmitAnts, ant, "/grpc.health.v1.Health/Check", ""},
	} {
		if _, err := c.admit(with(t, issue(t, c.by, access.Caller{}, c.method)), c.method); errs.Reason(err) != c.reason {
			t.Errorf("%s by %s: %v, want %q", c.method, c.by.Name, err, c.reason)
		}
	}
	// Who has a token but no certificate is nobody at the open door for ants.
	ctx := peer.NewContext(with(t, issue(t, ant, access.Caller{}, "/s/Ant")), &peer.Peer{AuthInfo: credentials.TLSInfo{}})
	if _, err := checker.AdmitAnts(ctx, "/s/Ant"); errs.Reason(err) != "CERTIFICATE_MISSING" {
		t.Errorf("a token without a certificate: %v", err)
	}
}

// TestCertificatesAreReplacedUnderLoad: files of both sides are replaced five times, the authority among them, while calls are
// made over new and old connections. None is lost.
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	authorities := []*pki.Authority{authority(t)}
	write := func(name string) {
		newest := authorities[len(authorities)-1]
		id, err := newest.Issue(pki.Name{Kind: pki.Service, ID: name}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := pki.WriteFiles(filepath.Join(dir, name), id, certificates(authorities)...); err != nil {
			t.Fatal(err)
		}
	}
	open := func(name string) *pki.Files {
		write(name)
		f, err := pki.OpenDir(filepath.Join(dir, name), testkit.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	server, caller := open("supervisor"), open("scheduler")
	addr := served(t, passport.NewChecker(server.Roots, rules, nil).AdmitServices, pki.ServerTLS(server.Source, server.Roots, pki.Service))
	issuer := passport.NewIssuer(caller.Source, rules)
	opts := []grpc.DialOption{client(caller.Source, caller.Roots, "supervisor"), grpc.WithPerRPCCredentials(issuer)}
	kept, err := rpc.Dial(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	var calls atomic.Int64
	load := func(ctx context.Context) error {
		for ctx.Err() == nil {
			_, err := grpc_health_v1.NewHealthClient(kept).Check(context.WithoutCancel(ctx), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				return fmt.Errorf("over the connection that is kept: %w", err)
			}
			if err := asks(context.WithoutCancel(ctx), addr, opts...); err != nil {
				return fmt.Errorf("over a new connection: %w", err)
			}
			calls.Add(1)
		}
		return nil
	}
	testkit.Run(t, load)
	for round := range 5 {
		if round == 2 { // trusted everywhere before anything is signed by it
			authorities = append([]*pki.Authority{authority(t)}, authorities...)
		}
		if round == 3 {
			authorities = []*pki.Authority{authorities[1], authorities[0]}
		}
		for name, f := range map[string]*pki.Files{"supervisor": server, "scheduler": caller} {
			before := f.Source().Cert
			write(name)
			testkit.Eventually(t, time.Minute, "the files of "+name+" are read again", func() bool { return !f.Source().Cert.Equal(before) })
		}
		seen := calls.Load()
		testkit.Eventually(t, time.Minute, fmt.Sprint("calls go on after round ", round), func() bool { return calls.Load() > seen+1 })
	}
	// What is no pair leaves what was there.
	before := server.Source()
	if err := os.WriteFile(filepath.Join(dir, "supervisor", "tls.crt"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := calls.Load()
	testkit.Eventually(t, time.Minute, "calls go on with a broken file", func() bool { return calls.Load() > seen+1 })
	if server.Source() != before {
		t.Error("a file that holds no certificate was taken")
	}
}

func certificates(authorities []*pki.Authority) (all []*x509.Certificate) {
	for _, a := range authorities {
		all = append(all, a.Certificate())
	}
	return all
}
