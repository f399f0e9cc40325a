package apigateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/formicary/formicary/libs/testkit"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

// TestPortsAreEncrypted: with a certificate both ports speak TLS and nothing else, and a new certificate is shown without a restart.
func TestPortsAreEncrypted(t *testing.T) {
	dir := t.TempDir()
	cert, key := testkit.Certificate(t, dir, "formicary.example")
	trusted := func() *tls.Config {
		pem, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		return &tls.Config{RootCAs: roots, ServerName: "formicary.example", MinVersion: tls.VersionTLS12}
	}
	w := start(t, func(s *setting) { s.conf.HTTPSCert, s.conf.HTTPSKey = cert, key })
	ways := strings.Replace(w.base, "http://", "https://", 1) + "/api/v1/auth/ways"
	get := func(conf *tls.Config, url string) (*http.Response, error) {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return res, err
	}
	res, err := get(trusted(), ways)
	if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
		t.Fatalf("%v %+v", err, res)
	}
	if res, err := get(nil, w.base+"/api/v1/auth/ways"); err == nil && res.StatusCode == http.StatusOK {
		t.Error("plain HTTP is answered")
	}
	old := trusted()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := get(old, ways); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if err := health(t, w.grpc); err == nil {
		t.Error("gRPC is spoken without TLS")
	}
	if err := health(t, dial(t, w.network, "gateway", grpc.WithTransportCredentials(credentials.NewTLS(trusted())))); err != nil {
		t.Error(err)
	}
	before := trusted()
	testkit.Certificate(t, dir, "formicary.example")
	testkit.Eventually(t, time.Minute, "the new certificate is shown", func() bool {
		_, err := get(trusted(), ways)
		return err == nil
	})
	if _, err := get(before, ways); err == nil {
		t.Error("the certificate before is still shown")
	}
}

func health(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// TestOthersAreServedEncrypted: what other machines reach has a certificate, or a proxy before it.
func TestOthersAreServedEncrypted(t *testing.T) {
	cert, key := testkit.Certificate(t, t.TempDir(), "formicary.example")
	for name, c := range map[string]struct {
		set  func(*apigateway.Config)
		says string
	}{
		"plain":          {func(*apigateway.Config) {}, "unencrypted"},
		"a certificate":  {func(c *apigateway.Config) { c.HTTPSCert, c.HTTPSKey = cert, key }, ""},
		"a proxy":        {func(c *apigateway.Config) { c.Proxied = true }, ""},
		"nobody logs in": {func(c *apigateway.Config) { c.Auth, c.HTTPSCert, c.HTTPSKey = false, cert, key }, "without --auth"},
		"no key":         {func(c *apigateway.Config) { c.HTTPSCert = cert }, "--https-key"},
		"no such file":   {func(c *apigateway.Config) { c.HTTPSCert, c.HTTPSKey = "none.pem", key }, "none.pem"},
		"another key": {func(c *apigateway.Config) {
			c.HTTPSCert = cert
			_, c.HTTPSKey = testkit.Certificate(t, t.TempDir(), "x")
		}, "read the certificate"},
		"key for a certificate": {func(c *apigateway.Config) { c.HTTPSCert, c.HTTPSKey = key, cert }, "read the certificate"},
	} {
		lis, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		conf := apigateway.DefaultConfig()
		conf.Auth = true
		c.set(&conf)
		_, err = apigateway.New(conf, apigateway.Deps{HTTP: lis, GRPC: lis, Meter: noop.Meter{}, Log: testkit.Logger(t)})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		_ = lis.Close()
	}
}
