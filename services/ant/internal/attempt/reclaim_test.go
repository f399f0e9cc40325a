package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

// counter answers claims.
type counter struct {
	antv1.AttemptServiceClient
	poison   string         // a call that names it fails
	late     map[string]int // how often each is to be asked for again
	away     int            // how many calls are not answered
	answered []string
}

func (c *counter) Claim(_ context.Context, req *antv1.ClaimRequest, _ ...grpc.CallOption) (*antv1.ClaimResponse, error) {
	if c.away > 0 {
		c.away--
		return nil, errors.New("away")
	}
	if slices.Contains(req.GetUids(), c.poison) {
		return nil, status.Error(codes.Internal, "it cannot be encoded")
	}
	res := &antv1.ClaimResponse{}
	for _, uid := range req.GetUids() {
		w := &antv1.Work{Uid: uid}
		if c.late[uid] > 0 {
			c.late[uid]--
			w.Later = "not yet"
		} else {
			w.Refused = "not live"
			c.answered = append(c.answered, uid)
		}
		res.Works = append(res.Works, w)
	}
	return res, nil
}

// One attempt that cannot be answered keeps no other from being claimed again, and none waits for it for ever.
func TestReclaimGoesOnWithoutWhatFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		journal, _, err := spool.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = journal.Close() }()
		c := &counter{poison: "u77", late: map[string]int{"u5": 8}, away: 2}
		m, err := New(Options{Ant: "a"}, Deps{Spool: journal, Supervisor: c, Log: testkit.Logger(t), Meter: noop.Meter{}})
		if err != nil {
			t.Fatal(err)
		}
		m.Begin("session")
		m.SessionAccepted()
		var uids []string
		for i := range 600 {
			uids = append(uids, fmt.Sprint("u", i))
		}
		m.Expect(uids)
		m.Reclaim(t.Context())
		if n := len(c.answered); n != len(uids)-1 || slices.Contains(c.answered, c.poison) {
			t.Errorf("%d of %d are answered", n, len(uids))
		}
		if left := m.Running(); len(left) != 0 {
			t.Errorf("%v are listed as running", left)
		}
	})
}
