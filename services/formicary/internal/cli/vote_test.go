package cli

import (
	"strings"
	"testing"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

func TestAQuestionNamesSomebodyWhoMayAnswer(t *testing.T) {
	for _, c := range []struct {
		p    *executionv1.Approval
		want string
		who  string
	}{
		{&executionv1.Approval{}, "approve 0198 ask --x\n", "anyone"},
		{&executionv1.Approval{SubmittedBy: "root"}, "approve 0198 ask --user NAME --x\n", "anyone but root"},
		{&executionv1.Approval{SubmittedBy: "root", AllowSelfApproval: true}, "approve 0198 ask --x\n", "anyone"},
		{&executionv1.Approval{SubmittedBy: "system"}, "approve 0198 ask --x\n", "anyone but system"},
		{&executionv1.Approval{AllowedUsers: []string{"alice", "bob"}, Votes: []*executionv1.Vote{{Voter: "alice"}}}, "approve 0198 ask --user bob --x\n", "alice, bob"},
		{&executionv1.Approval{AllowedUsers: []string{"root"}, SubmittedBy: "root"}, "--user NAME", "nobody: only root is allowed to, who submitted the job"},
		{&executionv1.Approval{AllowedRoles: []string{"ops"}}, "--user NAME", "role ops"},
	} {
		c.p.RequestId, c.p.Task, c.p.Description = "0198", "ask", "Deploy?"
		if got := question(c.p, "root", " --x"); !strings.Contains(got, c.want) || !strings.Contains(got, "ask asks: Deploy? (1 vote; who may: "+c.who+")") {
			t.Errorf("%v:\n%s", c.p, got)
		}
	}
}
