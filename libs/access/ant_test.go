package access_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
)

// TestAnAntSpeaksForItself: whatever an ant calls for another one, or without saying for whom, is refused. Requests that do name
// the ant are tried where their messages are known: in resource-manager and supervisor.
func TestAnAntSpeaksForItself(t *testing.T) {
	ctx := access.With(access.WithAntOnly(t.Context()), access.Caller{Kind: access.Ant, User: "ant-1"})
	for _, req := range []any{&emptypb.Empty{}, "ant-1", nil} {
		if err := access.CheckAnt(ctx, req); errs.Reason(err) != "ANT_OTHER" {
			t.Errorf("%v: %v", req, err)
		}
	}
	if err := access.CheckAnt(t.Context(), &emptypb.Empty{}); err != nil {
		t.Errorf("a method that is not for ants: %v", err)
	}
}
