package gate

import (
	"context"
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	_ "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	_ "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	_ "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

func rules() Rules {
	return Rules{
		"/s/Open": {Permission: "a.read"}, "/s/Public": {Public: true}, "/s/Internal": {Internal: true}, "/s/Ant": {Ant: true},
		"/s/Nothing": nil, "/s/Empty": {},
		// A permission beside internal does not open it.
		"/s/Both": {Permission: "a.read", Internal: true},
	}
}

func TestAdmit(t *testing.T) {
	g := New(rules(), 1)
	for method, reason := range map[string]string{
		"/s/Open": "", "/s/Public": "", "/grpc.health.v1.Health/Check": "",
		"/s/Internal": "METHOD_INTERNAL", "/s/Ant": "METHOD_ANT", "/s/Nothing": "METHOD_CLOSED", "/s/Empty": "METHOD_CLOSED", "/s/Both": "METHOD_INTERNAL",
	} {
		ctx, err := g.Admit(t.Context(), method)
		if errs.Reason(err) != reason {
			t.Errorf("%s: %v, want %q", method, err, reason)
		}
		if err == nil && !reflect.DeepEqual(rpc.CallerFrom(ctx), rpc.Caller{Org: "default", User: "local"}) {
			t.Errorf("%s: caller %v", method, rpc.CallerFrom(ctx))
		}
	}
	if _, err := g.Admit(t.Context(), "/s/Unknown"); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
}

func TestStreamsAreCountedAndEnded(t *testing.T) {
	g := New(rules(), 2)
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

func TestReadRulesSeesEveryContext(t *testing.T) {
	got := ReadRules(protoregistry.GlobalFiles)
	for method, want := range map[string]*identityv1.Access{
		"/formicary.job.v1.JobRequestService/SubmitJob":     {Permission: "request.submit"},
		"/formicary.ant.v1.AttemptService/Claim":            {Ant: true},
		"/formicary.resource.v1.ReservationService/Reserve": {Internal: true},
		"/formicary.job.v1.AdmissionService/Admit":          {Internal: true},
		"/formicary.execution.v1.LogService/WatchTaskLog":   {Permission: "log.read"},
	} {
		if got[method].String() != want.String() {
			t.Errorf("%s: %v", method, got[method])
		}
	}
}
