package gate

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc/peer"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/limit"
)

// holders knows everybody by the token: its text is the credential's id.
type holders struct{ asked int }

func (h *holders) Authenticate(_ context.Context, c Credential) (access.Caller, error) {
	h.asked++
	return access.Caller{Kind: access.Person, Org: "o", User: "u", Roles: []string{access.PlatformAdmin}, Credential: c.Bearer}, nil
}

func with(ctx context.Context, token string) context.Context {
	return WithCredential(ctx, Credential{Bearer: token})
}

// TestCallersAreLimited: each credential by itself, whatever it calls, also what it may not.
func TestCallersAreLimited(t *testing.T) {
	people := &holders{}
	g := New(access.Rules{"/s/Open": {Permission: "request.read"}, "/s/Internal": {Internal: true}}, people, 10)
	slow := limit.Rate{PerSecond: 0.0001, Burst: 2}
	g.Limit(limit.New(limit.Config{Address: slow, Credential: slow, Streams: 1, Buckets: 10}))
	for i, want := range []string{"", "METHOD_INTERNAL", "RATE_LIMITED"} {
		method := [...]string{"/s/Open", "/s/Internal", "/s/Open"}[i]
		if _, err := g.Admit(with(t.Context(), "a"), method); errs.Reason(err) != want {
			t.Errorf("call %d: %v, want %q", i, err, want)
		}
	}
	_, release, err := g.AdmitStream(with(t.Context(), "b"), "/s/Open")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.AdmitStream(with(t.Context(), "c"), "/s/Open"); errs.Reason(err) != "TOO_MANY_STREAMS" {
		t.Errorf("a second stream: %v", err)
	}
	release()
	if _, release, err := g.AdmitStream(with(t.Context(), "c"), "/s/Open"); err != nil {
		t.Errorf("after the end of the first: %v", err)
	} else {
		release()
	}
	from := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}})
	for range 2 {
		_, _ = g.Call(from, "/s/Open")
	}
	before := people.asked
	if _, err := g.Call(from, "/s/Open"); errs.Reason(err) != "RATE_LIMITED" || people.asked != before {
		t.Errorf("a flood from an address: %v, %d were asked for", err, people.asked-before)
	}
}
