// Ants join by a token that counts once, and whoever was shut out is refused at every call.
package resourcemanager_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/pki"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

func (c *colony) identities() resourcev1.AntIdentityServiceClient {
	return resourcev1.NewAntIdentityServiceClient(c.dial("resource-manager"))
}

// as calls in the name of an org-admin.
func (c *colony) as(org string) context.Context {
	return access.With(c.t.Context(), passporttest.Person(org, "ann", access.OrgAdmin))
}

func (c *colony) token(ctx context.Context, r *resourcev1.CreateJoinTokenRequest) *resourcev1.CreateJoinTokenResponse {
	c.t.Helper()
	res, err := c.identities().CreateJoinToken(ctx, r)
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

// door is where ants without a certificate ask.
func (c *colony) door() antv1.JoinServiceClient {
	conn, err := c.net.Dial("resource-manager/ants")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return antv1.NewJoinServiceClient(conn)
}

func key(t testing.TB) (ed25519.PrivateKey, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, csr
}

// join makes an ant of a token.
func (c *colony) join(id, token string) *pki.Identity {
	c.t.Helper()
	key, csr := key(c.t)
	res, err := c.door().Join(c.t.Context(), &antv1.JoinRequest{AntId: id, Token: token, Csr: csr})
	if err != nil {
		c.t.Fatal(err)
	}
	got, _, err := pki.Received(pki.Name{Kind: pki.Ant, ID: id}, key, res.GetCertificate(), res.GetAuthorities())
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// by opens the connection of an ant.
func (c *colony) by(id *pki.Identity) *grpc.ClientConn {
	conn, err := c.net.Dial("resource-manager/ants", grpc.WithPerRPCCredentials(passport.NewIssuer(pki.Fixed(id), access.ReadRules(protoregistry.GlobalFiles))))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (c *colony) sql(statement string) {
	c.t.Helper()
	if _, err := c.pool.Exec(c.t.Context(), statement); err != nil {
		c.t.Fatal(err)
	}
}

// TestAJoinTokenCountsOnce: it is good for one ant, in time, in its pool, and for whoever knows all of it. Nothing of it is kept.
func TestAJoinTokenCountsOnce(t *testing.T) {
	c := start(t, nil)
	door, ctx := c.door(), t.Context()
	_, csr := key(t)
	fresh := func() string {
		return c.token(c.as("acme"), &resourcev1.CreateJoinTokenRequest{Pool: "build"}).GetToken()
	}
	try := func(id, token, pool string, csr []byte) string {
		t.Helper()
		_, err := door.Join(ctx, &antv1.JoinRequest{AntId: id, Token: token, Pool: pool, Csr: csr})
		return errs.Reason(err)
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	token := fresh()
	want("another pool", try("a", token, "gpu", csr), "JOIN_REFUSED")
	want("another secret", try("a", token[:len(token)-1]+"~", "", csr), "JOIN_REFUSED")
	want("no secret", try("a", "fmc_join_", "", csr), "JOIN_REFUSED")
	want("another form", try("a", "fmc_pat_x", "", csr), "JOIN_REFUSED")
	want("its pool", try("a", token, "build", csr), "")
	want("used", try("a", token, "", csr), "JOIN_REFUSED")
	want("used, by another", try("b", token, "", csr), "JOIN_REFUSED")
	token = fresh()
	want("an id that lives", try("a", token, "", csr), "JOIN_REFUSED")
	want("after that", try("b", token, "", csr), "")
	token = fresh()
	c.sql(`UPDATE join_token SET expires_at = now() WHERE used_at IS NULL`)
	want("expired", try("c", token, "", csr), "JOIN_REFUSED")
	revoked := c.token(c.as("acme"), &resourcev1.CreateJoinTokenRequest{})
	if _, err := c.identities().RevokeJoinToken(c.as("other"), &resourcev1.RevokeJoinTokenRequest{Id: revoked.GetInfo().GetId()}); errs.Reason(err) != "JOIN_TOKEN_NOT_FOUND" {
		t.Errorf("of another organisation: %v", err)
	}
	if _, err := c.identities().RevokeJoinToken(c.as("acme"), &resourcev1.RevokeJoinTokenRequest{Id: revoked.GetInfo().GetId()}); err != nil {
		t.Error(err)
	}
	want("revoked", try("c", revoked.GetToken(), "", csr), "JOIN_REFUSED")
	var leaks int
	_, secret, _ := strings.Cut(strings.TrimPrefix(token, "fmc_join_"), "_")
	if err := c.pool.QueryRow(ctx, `SELECT count(*) FROM join_token t WHERE t::text LIKE '%' || $1 || '%'`, secret).Scan(&leaks); err != nil || leaks > 0 {
		t.Errorf("%d rows hold the token, %v", leaks, err)
	}
	// One token, many at once.
	token = fresh()
	results := make(chan string, 8)
	for i := range cap(results) {
		go func() { results <- try("many-"+string(rune('a'+i)), token, "", csr) }()
	}
	in := 0
	for range cap(results) {
		if <-results == "" {
			in++
		}
	}
	if in != 1 {
		t.Errorf("%d ants joined with one token", in)
	}
}

// TestATamperedRequestIsNoIdentity: what stands in a request beside its key is not believed, and the key must be the asker's and
// of the one kind.
func TestATamperedRequestIsNoIdentity(t *testing.T) {
	c := start(t, nil)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, other)
	if err != nil {
		t.Fatal(err)
	}
	private, good := key(t)
	changed := slices.Clone(good)
	changed[len(changed)-1] ^= 1
	token := c.token(c.as("acme"), &resourcev1.CreateJoinTokenRequest{}).GetToken()
	for name, csr := range map[string][]byte{"another kind of key": weak, "another signature": changed, "no request": []byte("x")} {
		if _, err := c.door().Join(t.Context(), &antv1.JoinRequest{AntId: "a", Token: token, Csr: csr}); errs.Reason(err) != "CSR_INVALID" {
			t.Errorf("%s: %v", name, err)
		}
	}
	admin := (&pki.Name{Kind: pki.Service, ID: "api-gateway"}).URI()
	named, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"api-gateway"}, URIs: []*url.URL{admin}}, private)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.door().Join(t.Context(), &antv1.JoinRequest{AntId: "a", Token: token, Csr: named})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(res.GetCertificate())
	if err != nil {
		t.Fatal(err)
	}
	name, err := pki.NameOf(cert)
	if err != nil || name != (pki.Name{Kind: pki.Ant, ID: "a"}) || len(cert.DNSNames) > 0 || cert.IsCA || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		t.Errorf("%v %v %v %v", name, err, cert.DNSNames, cert.ExtKeyUsage)
	}
	if life := cert.NotAfter.Sub(pki.IssuedAt(cert)); life > pki.AntLife+time.Second {
		t.Errorf("it lives for %s", life)
	}
}

// TestAnAntIsOfTheOrganisationOfItsToken: and only the platform lets in ants for others.
func TestAnAntIsOfTheOrganisationOfItsToken(t *testing.T) {
	c := start(t, nil)
	for _, r := range []*resourcev1.CreateJoinTokenRequest{{OrgId: "other"}, {Shared: true}} {
		if _, err := c.identities().CreateJoinToken(c.as("acme"), r); errs.Reason(err) != "ORG_OTHER" {
			t.Errorf("%v: %v", r, err)
		}
	}
	for id, r := range map[string]*resourcev1.CreateJoinTokenRequest{"of-acme": {OrgId: "acme", Pool: "gpu"}, "of-all": {Shared: true}} {
		ant := c.join(id, c.token(t.Context(), r).GetToken())
		conn := c.by(ant)
		c.eventually("the ant is let in", func() bool {
			_, err := antv1.NewRegistrationServiceClient(conn).Register(t.Context(), &antv1.RegisterRequest{AntId: id, Methods: []string{"SHELL"}, Slots: 1})
			return err == nil
		})
	}
	list := func(org string) (ids []string) {
		res, err := c.show.ListAnts(c.as(org), &resourcev1.ListAntsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range res.GetAnts() {
			ids = append(ids, a.GetOrgId()+"/"+a.GetPool()+"/"+a.GetId())
		}
		return ids
	}
	if got := list("acme"); !slices.Equal(got, []string{"/default/of-all", "acme/gpu/of-acme"}) && !slices.Equal(got, []string{"acme/gpu/of-acme", "/default/of-all"}) {
		t.Errorf("%v", got)
	}
	if got := list("other"); !slices.Equal(got, []string{"/default/of-all"}) {
		t.Errorf("%v", got)
	}
	for id, want := range map[string]string{"of-acme": "ANT_NOT_FOUND", "of-all": "ORG_OTHER", "nobody": "ANT_NOT_FOUND"} {
		if _, err := c.identities().RevokeAnt(c.as("other"), &resourcev1.RevokeAntRequest{Id: id}); errs.Reason(err) != want {
			t.Errorf("%s revoked by another organisation: %v", id, err)
		}
	}
	tokens, err := c.identities().ListJoinTokens(c.as("other"), &resourcev1.ListJoinTokensRequest{})
	if err != nil || len(tokens.GetTokens()) > 0 {
		t.Errorf("%v %v", tokens, err)
	}
	c.audit()
}

// TestAStolenCertificateCountsNowhereAfterRevoke: it is refused at every call of an ant, on every replica, and the session that it
// had is over. The ant joins again with another token.
func TestAStolenCertificateCountsNowhereAfterRevoke(t *testing.T) {
	c := start(t, nil)
	ant := c.join("a", c.token(c.as("acme"), &resourcev1.CreateJoinTokenRequest{}).GetToken())
	conn := c.by(ant)
	registration := antv1.NewRegistrationServiceClient(conn)
	c.eventually("the ant is let in", func() bool {
		_, err := registration.Register(t.Context(), &antv1.RegisterRequest{AntId: "a", Methods: []string{"SHELL"}, Slots: 1})
		return err == nil
	})
	if _, err := c.identities().RevokeAnt(c.as("acme"), &resourcev1.RevokeAntRequest{Id: "a"}); err != nil {
		t.Fatal(err)
	}
	if a, err := c.show.GetAnt(c.as("acme"), &resourcev1.GetAntRequest{Id: "a"}); err != nil || a.GetAnt().GetState() != resourcev1.Ant_OFFLINE {
		t.Errorf("%v %v", a, err)
	}
	rules := access.ReadRules(protoregistry.GlobalFiles)
	tried := 0
	for method, rule := range rules {
		if !rule.Ant || !strings.Contains(method, "Registration") && !strings.Contains(method, "Join") { // the others are served by supervisor
			continue
		}
		tried++
		req, res := messages(t, method, "a")
		if err := conn.Invoke(t.Context(), method, req, res); errs.Reason(err) != passport.RevokedReason {
			t.Errorf("%s: %v", method, err)
		}
	}
	if tried < 4 {
		t.Errorf("only %d methods were tried", tried)
	}
	revoked, err := resourcev1.NewAntIdentityServiceClient(c.dial("resource-manager")).ListRevokedAnts(t.Context(), &resourcev1.ListRevokedAntsRequest{})
	if err != nil || len(revoked.GetAnts()) != 1 || revoked.GetAnts()[0].GetAntId() != "a" {
		t.Errorf("others are told of %v, %v", revoked, err)
	}
	// An organisation that shuts out an ant of its own does not make the others forgotten.
	c.join("b", c.token(c.as("other"), &resourcev1.CreateJoinTokenRequest{}).GetToken())
	if _, err := c.identities().RevokeAnt(c.as("other"), &resourcev1.RevokeAntRequest{Id: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := registration.Register(t.Context(), &antv1.RegisterRequest{AntId: "a", Methods: []string{"SHELL"}, Slots: 1}); errs.Reason(err) != passport.RevokedReason {
		t.Errorf("after another was shut out: %v", err)
	}
	token := c.token(c.as("acme"), &resourcev1.CreateJoinTokenRequest{}).GetToken()
	private, csr := key(t)
	var joined *antv1.JoinResponse
	c.eventually("the ant joins again", func() bool {
		joined, err = c.door().Join(t.Context(), &antv1.JoinRequest{AntId: "a", Token: token, Csr: csr})
		return err == nil
	})
	again, _, err := pki.Received(ant.Name, private, joined.GetCertificate(), joined.GetAuthorities())
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("its new certificate counts", func() bool {
		_, err := antv1.NewRegistrationServiceClient(c.by(again)).Register(t.Context(), &antv1.RegisterRequest{AntId: "a", Methods: []string{"SHELL"}, Slots: 1})
		return err == nil
	})
	if _, err := registration.Register(t.Context(), &antv1.RegisterRequest{AntId: "a", Methods: []string{"SHELL"}, Slots: 1}); errs.Reason(err) != passport.RevokedReason {
		t.Errorf("the stolen one: %v", err)
	}
	c.audit()
}

// messages returns a request of a method in the name of an ant, and room for its answer.
func messages(t *testing.T, method, ant string) (req, res proto.Message) {
	t.Helper()
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		t.Fatal(err)
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name)) //nolint:forcetypeassert // what is asked for is a service
	in := dynamicpb.NewMessage(m.Input())
	in.Set(m.Input().Fields().ByName("ant_id"), protoreflect.ValueOfString(ant))
	return in, dynamicpb.NewMessage(m.Output())
}

// TestACertificateIsRenewedByItsAntOnly: not early, not by another ant, not by one that did not join, and never after its end.
func TestACertificateIsRenewedByItsAntOnly(t *testing.T) {
	c := start(t, nil)
	ant := c.join("a", c.token(c.as("acme"), &resourcev1.CreateJoinTokenRequest{}).GetToken())
	desk := antv1.NewJoinServiceClient(c.by(ant))
	_, csr := key(t)
	renew := func(desk antv1.JoinServiceClient, id string) (*antv1.RenewResponse, error) {
		return desk.Renew(t.Context(), &antv1.RenewRequest{AntId: id, Csr: csr})
	}
	c.eventually("it is known who was shut out", func() bool {
		_, err := renew(desk, "a")
		return errs.Reason(err) == "RENEW_EARLY"
	})
	c.sql(`UPDATE ant_identity SET not_after = now() + interval '11 hours'`)
	res, err := renew(desk, "a")
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := x509.ParseCertificate(res.GetCertificate()); err != nil || time.Until(cert.NotAfter) < 23*time.Hour {
		t.Errorf("%v %v", cert.NotAfter, err)
	}
	if _, err := renew(desk, "b"); errs.Reason(err) != "ANT_OTHER" {
		t.Errorf("for another: %v", err)
	}
	own, err := passporttest.Authority().Issue(pki.Name{Kind: pki.Ant, ID: "own"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := renew(antv1.NewJoinServiceClient(c.by(own)), "own"); errs.Reason(err) != "ANT_REVOKED" {
		t.Errorf("without having joined: %v", err)
	}
	if _, err := renew(c.door(), "a"); errs.CodeOf(err) != errs.CodeUnauthenticated {
		t.Errorf("without a certificate: %v", err)
	}
	c.sql(`UPDATE ant_identity SET not_after = now()`)
	if _, err := renew(desk, "a"); errs.Reason(err) != "ANT_REVOKED" {
		t.Errorf("after its end: %v", err)
	}
}
