package jobspec_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
)

// votes reads "ann+ bob-".
func votes(text string) []jobspec.Vote {
	var out []jobspec.Vote
	for word := range strings.FieldsSeq(text) {
		out = append(out, jobspec.Vote{Voter: word[:len(word)-1], Approve: strings.HasSuffix(word, "+")})
	}
	return out
}

func TestApprovalOutcome(t *testing.T) {
	users := strings.Fields
	for _, c := range []struct {
		policy jobspec.Approval
		votes  string
		want   string
	}{
		{jobspec.Approval{}, "", ""},
		{jobspec.Approval{}, "ann+", "APPROVED"},
		{jobspec.Approval{}, "ann-", "REJECTED"},
		{jobspec.Approval{MinApprovals: 2}, "ann+", ""},
		{jobspec.Approval{MinApprovals: 2}, "ann+ ann+", ""},
		{jobspec.Approval{MinApprovals: 2}, "ann+ bob+", "APPROVED"},
		{jobspec.Approval{MinApprovals: 2}, "ann- bob+", ""},
		{jobspec.Approval{MinApprovals: 2}, "ann- bob-", "REJECTED"},
		{jobspec.Approval{MinApprovals: 2}, "ann- bob+ cid+", "APPROVED"},
		{jobspec.Approval{MinApprovals: 2, RequireUnanimous: true}, "ann+ bob-", "REJECTED"},
		{jobspec.Approval{MinApprovals: 2, RequireUnanimous: true}, "ann+ bob+", "APPROVED"},
		{jobspec.Approval{MinApprovals: 2, AllowedUsers: users("ann bob cid")}, "ann-", ""},
		{jobspec.Approval{MinApprovals: 3, AllowedUsers: users("ann bob cid")}, "ann-", "REJECTED"},
		{jobspec.Approval{MinApprovals: 2, AllowedUsers: users("ann bob")}, "ann-", "REJECTED"},
		{jobspec.Approval{MinApprovals: 2, AllowedUsers: users("ann bob"), AllowedRoles: users("Ops")}, "ann-", ""},
		{jobspec.Approval{MinApprovals: 1, AllowedUsers: users("ann bob"), RequireUnanimous: true}, "ann+", ""},
		{jobspec.Approval{MinApprovals: 1, AllowedUsers: users("ann bob"), RequireUnanimous: true}, "ann+ bob+", "APPROVED"},
		{jobspec.Approval{MinApprovals: 1, AllowedUsers: users("ann bob"), RequireUnanimous: true, AllowedRoles: users("Ops")}, "ann+", "APPROVED"},
		{jobspec.Approval{MinApprovals: 5}, "system:sla-timeout+", "APPROVED"},
		{jobspec.Approval{MinApprovals: 5}, "ann+ system:sla-timeout-", "REJECTED"},
	} {
		got, decided := c.policy.Outcome(votes(c.votes))
		if got != c.want || decided != (c.want != "") {
			t.Errorf("%+v %q: %q %t", c.policy, c.votes, got, decided)
		}
	}
}

func TestMayVote(t *testing.T) {
	policy := jobspec.Approval{AllowedUsers: []string{"ann"}, AllowedRoles: []string{"Ops"}}
	for _, c := range []struct {
		policy jobspec.Approval
		user   string
		roles  string
		want   bool
	}{
		{jobspec.Approval{}, "anyone", "", true},
		{jobspec.Approval{}, "", "", false},
		{jobspec.Approval{}, jobspec.SystemVoter, "", false},
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
