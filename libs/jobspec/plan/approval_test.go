package plan_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// votes reads "ann+ bob-".
func votes(text string) []plan.Vote {
	var out []plan.Vote
	for word := range strings.FieldsSeq(text) {
		out = append(out, plan.Vote{Voter: word[:len(word)-1], Approve: strings.HasSuffix(word, "+")})
	}
	return out
}

func TestApprovalOutcome(t *testing.T) {
	users := strings.Fields
	for _, c := range []struct {
		policy plan.Approval
		votes  string
		want   string
	}{
		{plan.Approval{}, "", ""},
		{plan.Approval{}, "ann+", "APPROVED"},
		{plan.Approval{}, "ann-", "REJECTED"},
		{plan.Approval{MinApprovals: 2}, "ann+", ""},
		{plan.Approval{MinApprovals: 2}, "ann+ ann+", ""},
		{plan.Approval{MinApprovals: 2}, "ann+ bob+", "APPROVED"},
		{plan.Approval{MinApprovals: 2}, "ann- bob+", ""},
		{plan.Approval{MinApprovals: 2}, "ann- bob-", "REJECTED"},
		{plan.Approval{MinApprovals: 2}, "ann- bob+ cid+", "APPROVED"},
		{plan.Approval{MinApprovals: 2, RequireUnanimous: true}, "ann+ bob-", "REJECTED"},
		{plan.Approval{MinApprovals: 2, RequireUnanimous: true}, "ann+ bob+", "APPROVED"},
		{plan.Approval{MinApprovals: 2, AllowedUsers: users("ann bob cid")}, "ann-", ""},
		{plan.Approval{MinApprovals: 3, AllowedUsers: users("ann bob cid")}, "ann-", "REJECTED"},
		{plan.Approval{MinApprovals: 2, AllowedUsers: users("ann bob")}, "ann-", "REJECTED"},
		{plan.Approval{MinApprovals: 2, AllowedUsers: users("ann bob"), AllowedRoles: users("Ops")}, "ann-", ""},
		{plan.Approval{MinApprovals: 1, AllowedUsers: users("ann bob"), RequireUnanimous: true}, "ann+", ""},
		{plan.Approval{MinApprovals: 1, AllowedUsers: users("ann bob"), RequireUnanimous: true}, "ann+ bob+", "APPROVED"},
		{plan.Approval{MinApprovals: 1, AllowedUsers: users("ann bob"), RequireUnanimous: true, AllowedRoles: users("Ops")}, "ann+", "APPROVED"},
		{plan.Approval{MinApprovals: 5}, "system:sla-timeout+", "APPROVED"},
		{plan.Approval{MinApprovals: 5}, "ann+ system:sla-timeout-", "REJECTED"},
	} {
		got, decided := c.policy.Outcome(votes(c.votes))
		if got != c.want || decided != (c.want != "") {
			t.Errorf("%+v %q: %q %t", c.policy, c.votes, got, decided)
		}
	}
}

func TestMayVote(t *testing.T) {
	policy := plan.Approval{AllowedUsers: []string{"ann"}, AllowedRoles: []string{"Ops"}}
	for _, c := range []struct {
		policy plan.Approval
		user   string
		roles  string
		want   bool
	}{
		{plan.Approval{}, "anyone", "", true},
		{plan.Approval{}, "", "", false},
		{plan.Approval{}, plan.SystemVoter, "", false},
		{policy, "ann", "", true},
		{policy, "bob", "", false},
		{policy, "bob", "Dev Ops", true},
		{policy, "bob", "ops", false},
	} {
		if got := c.policy.MayVote(c.user, strings.Fields(c.roles)); got != c.want {
			t.Errorf("%q %q: %t", c.user, c.roles, got)
		}
	}
}
