package api_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/supervisor/internal/api"
	"github.com/formicary/formicary/services/supervisor/internal/attempt"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// attempts are a store of attempts: cut are those for whose outputs a claim has no room, output is what the others see.
type attempts struct {
	attempt.Store
	cut    map[uuid.UUID]bool
	output string

	mu   sync.Mutex
	kept map[uuid.UUID]bool
}

func (s *attempts) Claim(_ context.Context, claims []execution.Claim) (map[uuid.UUID]*execution.Claimed, error) {
	found := map[uuid.UUID]*execution.Claimed{}
	for _, c := range claims {
		found[c.UID] = &execution.Claimed{
			Attempt: execution.Attempt{UID: c.UID, State: engine.AttemptRunning, Ant: c.Ant, Session: c.Session, Number: 1},
			Task:    &plan.Task{Name: "work", Method: plan.MethodShell, Spec: plan.Spec{Method: plan.MethodShell, Script: []string{s.output}}},
			Job:     &execution.Context{Vars: []byte("{}"), Cut: s.cut[c.UID]},
		}
	}
	return found, nil
}

func (s *attempts) Keep(_ context.Context, claims []execution.Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range claims {
		s.kept[c.UID] = true
	}
	return nil
}

// claim claims attempts and returns which of them are kept alive.
func claim(t *testing.T, s *attempts, uids []string, partial bool) (*antv1.ClaimResponse, int, error) {
	t.Helper()
	m := attempt.New(s, nil, nil, nil, nil, testkit.Logger(t))
	testkit.Run(t, m.Run)
	s.kept = map[uuid.UUID]bool{}
	a := &api.Attempts{Manager: m}
	res, err := a.Claim(t.Context(), &antv1.ClaimRequest{AntId: "ant", Session: uuid.NewString(), Uids: uids, Partial: partial})
	return res, len(s.kept), err
}

func newUIDs(n int) (uids []string) {
	for range n {
		uids = append(uids, uuid.NewString())
	}
	return uids
}

// Attempts whose call is not answered must live until the same claim comes again, also those that could have been: the
// ant does not know that it has them. An ant of before claims what has no room together in halves, if the error says so.
func TestAnAntThatKnowsNoPartOfAnAnswer(t *testing.T) {
	uids := newUIDs(4)
	s := &attempts{cut: map[uuid.UUID]bool{uuid.MustParse(uids[2]): true}}
	_, kept, err := claim(t, s, uids, false)
	if errs.CodeOf(err) != errs.CodeExhausted || kept != len(uids) {
		t.Errorf("%d of %d are kept, %v", kept, len(uids), err)
	}
	res, kept, err := claim(t, s, uids, true)
	if err != nil || kept != 1 || res.GetWorks()[2].GetLater() == "" || res.GetWorks()[3].GetSpec() == nil {
		t.Errorf("%d are kept, %v, %v", kept, res, err)
	}
}

// Works that fit no message together are answered bit by bit: what nobody can receive is not even put together. The
// attempts of one doorbell are always claimed together.
func TestWorksThatAreTooLargeTogether(t *testing.T) {
	uids := newUIDs(10)
	s := &attempts{output: strings.Repeat("x", 7<<20)}
	if _, kept, err := claim(t, s, uids, false); errs.CodeOf(err) != errs.CodeExhausted || kept != len(uids) {
		t.Errorf("%d are kept, %v", kept, err)
	}
	for _, want := range []int{4, 4, 2} {
		res, kept, err := claim(t, s, uids, true)
		if err != nil || proto.Size(res) > rpc.MaxMessage || kept != len(uids)-want {
			t.Fatalf("%d of %d are kept, %v", kept, len(uids), err)
		}
		uids = nil
		for _, w := range res.GetWorks() {
			if w.GetLater() != "" {
				uids = append(uids, w.GetUid())
			}
		}
	}
}
