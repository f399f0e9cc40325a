package gate

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
)

func rules() access.Rules {
	return access.Rules{
		"/s/Open": {Permission: "a.read"}, "/s/Public": {Public: true}, "/s/Internal": {Internal: true}, "/s/Ant": {Ant: true},
		"/s/Nothing": {}, "/s/Empty": {},
		// A permission beside internal does not open it.
		"/s/Both": {Permission: "a.read", Internal: true},
	}
}

func TestAdmit(t *testing.T) {
	g := New(rules(), Local{Nobody{}}, 1)
	for method, reason := range map[string]string{
		"/s/Open": "", "/s/Public": "", "/grpc.health.v1.Health/Check": "",
		"/s/Internal": "METHOD_INTERNAL", "/s/Ant": "METHOD_ANT", "/s/Nothing": "METHOD_CLOSED", "/s/Empty": "METHOD_CLOSED", "/s/Both": "METHOD_INTERNAL",
	} {
		ctx, err := g.Admit(t.Context(), method)
		if errs.Reason(err) != reason {
			t.Errorf("%s: %v, want %q", method, err, reason)
		}
		if err == nil && !access.From(ctx).Equal(passporttest.Person("default", "local")) {
			t.Errorf("%s: caller %v", method, access.From(ctx))
		}
	}
	if _, err := g.Admit(t.Context(), "/s/Unknown"); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
}

func TestStreamsAreCountedAndEnded(t *testing.T) {
	g := New(rules(), Local{Nobody{}}, 2)
	ctx, release, err := g.AdmitStream(t.Context(), "/s/Open")
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := g.AdmitStream(t.Context(), "/s/Open")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.AdmitStream(t.Context(), "/s/Open"); errs.Reason(err) != "TOO_MANY_STREAMS" {
		t.Errorf("third: %v", err)
	}
	again()
	again()
	if g.Streams() != 1 {
		t.Errorf("%d streams", g.Streams())
	}
	g.EndStreams()
	if errs.Reason(context.Cause(ctx)) != "GATEWAY_STOPS" {
		t.Errorf("ended with %v", context.Cause(ctx))
	}
	if _, _, err := g.AdmitStream(t.Context(), "/s/Open"); errs.Reason(err) != "GATEWAY_STOPS" {
		t.Errorf("after the end: %v", err)
	}
	release()
	if g.Streams() != 0 {
		t.Errorf("%d streams", g.Streams())
	}
}
