package join_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/join"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// desk gives certificates of an authority to whoever asks.
type desk struct {
	antv1.UnimplementedJoinServiceServer
	authority *pki.Authority
	age       time.Duration // of the certificates that it gives

	mu     sync.Mutex
	tokens []string
	met    atomic.Int64 // connections
}

func (d *desk) issue(id string, csr []byte) ([]byte, error) {
	key, err := pki.Requested(csr)
	if err != nil {
		return nil, err
	}
	cert, err := d.authority.At(time.Now().Add(-d.age)).Sign(pki.Name{Kind: pki.Ant, ID: id}, key, time.Hour)
	if err != nil {
		return nil, err
	}
	return cert.Raw, nil
}

func (d *desk) Join(_ context.Context, r *antv1.JoinRequest) (*antv1.JoinResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tokens = append(d.tokens, r.GetToken()); len(d.tokens) == 1 {
		return nil, errs.Unavailable("JOIN_AGAIN", "in a moment")
	}
	cert, err := d.issue(r.GetAntId(), r.GetCsr())
	return &antv1.JoinResponse{Certificate: cert, Authorities: [][]byte{d.authority.Certificate().Raw}}, err
}

func (d *desk) Renew(_ context.Context, r *antv1.RenewRequest) (*antv1.RenewResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.age = 0
	cert, err := d.issue(r.GetAntId(), r.GetCsr())
	return &antv1.RenewResponse{Certificate: cert, Authorities: [][]byte{d.authority.Certificate().Raw}}, err
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// open serves the desk at an address.
func open(t *testing.T, d *desk) string {
	t.Helper()
	id, err := d.authority.Issue(pki.Name{Kind: pki.Service, ID: "resource-manager"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	checker := passport.NewChecker(d.authority.Roots, access.ReadRules(protoregistry.GlobalFiles), nil)
	server := rpc.NewServer(testkit.Logger(t), checker.AdmitAnts, grpc.Creds(credentials.NewTLS(pki.OpenTLS(pki.Fixed(id), d.authority.Roots, pki.Ant))))
	antv1.RegisterJoinServiceServer(server, d)
	testkit.Run(t, func(ctx context.Context) error { return rpc.Serve(ctx, server, counted{lis, &d.met}, time.Second) })
	return lis.Addr().String()
}

// counted counts the connections of a listener.
type counted struct {
	net.Listener
	n *atomic.Int64
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	c.n.Add(1)
	return conn, err
}

func token(t *testing.T, a *pki.Authority, secret string) string {
	t.Helper()
	key, ok := a.Certificate().PublicKey.(ed25519.PublicKey)
	if !ok {
		t.Fatal("the authority has a key of another kind")
	}
	return "fmc_join_" + hex.EncodeToString(key) + "_" + secret
}

// TestAnAntJoinsOnceAndKeepsItsKey: it spends its token only where the authority that the token names answers, keeps what it got
// from other users, passes over a token that is spent, and renews its certificate.
func TestAnAntJoinsOnceAndKeepsItsKey(t *testing.T) {
	d := &desk{authority: newAuthority(t), age: 40 * time.Minute}
	a := join.Ant{ID: "a", Dir: t.TempDir(), Address: open(t, d), Log: testkit.Logger(t)}
	if files, err := a.Open(t.Context()); files != nil || err != nil {
		t.Fatalf("without a token: %v", err)
	}
	a.Token = token(t, d.authority, "one")
	files, err := a.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Open(t.Context()); err != nil || !again.Source().Cert.Equal(files.Source().Cert) || len(d.tokens) != 2 {
		t.Errorf("a token that is spent: %v, asked %d times", err, len(d.tokens))
	}
	for _, path := range []string{"tls.key", "token.sha256"} {
		if info, err := os.Stat(filepath.Join(a.Dir, "identity", path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
	if _, err := (join.Ant{ID: "b", Dir: a.Dir, Log: a.Log}).Open(t.Context()); err == nil {
		t.Error("another ant takes the directory")
	}
	before := files.Source()
	conn, err := rpc.Dial(a.Address, rpc.WithTLS(func() *tls.Config { return pki.ClientTLS(files.Source, files.Roots, "resource-manager") }),
		grpc.WithPerRPCCredentials(passport.NewIssuer(files.Source, access.ReadRules(protoregistry.GlobalFiles))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	testkit.Run(t, func(ctx context.Context) error { return a.Renew(ctx, files, conn) })
	testkit.Eventually(t, time.Minute, "the certificate is renewed", func() bool { return !files.Source().Cert.Equal(before.Cert) })
	if !files.Source().Key.Equal(before.Key) {
		t.Error("the key is another one: for a moment the files were no pair")
	}
}

// TestAnAntTrustsOnlyTheAuthorityOfItsToken: to anybody else it does not even say the token.
func TestAnAntTrustsOnlyTheAuthorityOfItsToken(t *testing.T) {
	d := &desk{authority: newAuthority(t)}
	a := join.Ant{ID: "a", Dir: t.TempDir(), Address: open(t, d), Log: testkit.Logger(t)}
	ctx, cancel := context.WithCancel(t.Context())
	for _, text := range []string{"", "fmc_join_", "fmc_join_00_x", "fmc_pat_x", strings.ToUpper(token(t, d.authority, "x"))} {
		a.Token = text
		if files, err := a.Open(ctx); text != "" && err == nil || files != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	a.Token = token(t, newAuthority(t), "two")
	before, refused := d.met.Load(), make(chan error, 1)
	go func() { _, err := a.Open(ctx); refused <- err }()
	testkit.Eventually(t, time.Minute, "it has hung up and tried again", func() bool { return d.met.Load() > before+1 })
	cancel()
	if err := <-refused; err == nil {
		t.Error("it joined a colony of another authority")
	}
	if len(d.tokens) > 0 {
		t.Error("a stranger was told the token")
	}
}
