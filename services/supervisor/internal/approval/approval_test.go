package approval

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
)

func TestCast(t *testing.T) {
	type vote struct {
		user    string
		approve bool
		reason  string // of the refusal
		outcome string
	}
	two := []string{"alice", "bob"}
	for name, tt := range map[string]struct {
		policy plan.Approval
		votes  []vote
	}{
		"one is enough":                {plan.Approval{MinApprovals: 1}, []vote{{"alice", true, "", "APPROVED"}, {"bob", true, "APPROVAL_NOT_PENDING", ""}}},
		"a rejection decides":          {plan.Approval{MinApprovals: 1}, []vote{{"alice", false, "", "REJECTED"}}},
		"quorum":                       {plan.Approval{MinApprovals: 2}, []vote{{"alice", true, "", ""}, {"alice", true, "ALREADY_VOTED", ""}, {"bob", true, "", "APPROVED"}}},
		"submitter":                    {plan.Approval{MinApprovals: 1}, []vote{{"sam", true, "SELF_APPROVAL_FORBIDDEN", ""}}},
		"submitter who may":            {plan.Approval{MinApprovals: 1, AllowSelfApproval: true}, []vote{{"sam", true, "", "APPROVED"}}},
		"a stranger":                   {plan.Approval{MinApprovals: 1, AllowedUsers: two}, []vote{{"eve", true, "NOT_AN_APPROVER", ""}, {"bob", true, "", "APPROVED"}}},
		"unanimous":                    {plan.Approval{MinApprovals: 1, AllowedUsers: two, RequireUnanimous: true}, []vote{{"alice", true, "", ""}, {"bob", true, "", "APPROVED"}}},
		"unanimous without the one":    {plan.Approval{MinApprovals: 1, AllowedUsers: []string{"alice", "sam"}, RequireUnanimous: true}, []vote{{"alice", true, "", "APPROVED"}}},
		"one rejects a unanimous vote": {plan.Approval{MinApprovals: 2, AllowedUsers: two, RequireUnanimous: true}, []vote{{"alice", true, "", ""}, {"bob", false, "", "REJECTED"}}},
		"the system cannot be played":  {plan.Approval{MinApprovals: 1}, []vote{{plan.SystemVoter, true, "NOT_AN_APPROVER", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Approval{Task: "ok", SubmittedBy: "sam", State: Pending, Policy: &tt.policy}
			for i, v := range tt.votes {
				before := len(a.Votes)
				outcome, decided, err := a.Cast(Ballot{User: v.user, Approve: v.approve, Comment: "because"}, time.Unix(1, 0))
				if errs.Reason(err) != v.reason || outcome != v.outcome || decided != (v.outcome != "") {
					t.Fatalf("vote %d: %q, %v, %v", i, outcome, decided, err)
				}
				if err != nil && len(a.Votes) != before {
					t.Errorf("vote %d: a refused vote was kept", i)
				}
			}
		})
	}
}

func TestCastAsksForAComment(t *testing.T) {
	a := &Approval{Task: "ok", State: Pending, Policy: plan.DefaultApproval()}
	if _, _, err := a.Cast(Ballot{User: "bob", Comment: " "}, time.Now()); errs.Reason(err) != "COMMENT_REQUIRED" {
		t.Error(err)
	}
}

func TestRoles(t *testing.T) {
	a := &Approval{Task: "ok", State: Pending, Policy: &plan.Approval{MinApprovals: 1, AllowedRoles: []string{"lead"}}}
	_, _, err := a.Cast(Ballot{User: "bob", Approve: true}, time.Now())
	if errs.Reason(err) != "NOT_AN_APPROVER" || !strings.Contains(err.Error(), "role lead may vote; the call names no roles") {
		t.Error(err)
	}
	if outcome, _, err := a.Cast(Ballot{User: "bob", Approve: true, Roles: []string{"lead"}}, time.Now()); outcome != "APPROVED" {
		t.Error(outcome, err)
	}
}

// TestWhoMayDecide goes through who asks, what the policy says and which roles the voter has: nobody decides about the own job
// by any role, nobody by a role that is not named, and whoever is named by one of their groups may.
func TestWhoMayDecide(t *testing.T) {
	users, roles := []string{"alice", "sam"}, []string{"lead"}
	policies := map[string]plan.Approval{
		"anyone": {}, "users": {AllowedUsers: users}, "roles": {AllowedRoles: roles}, "both": {AllowedUsers: users, AllowedRoles: roles},
	}
	for name, p := range policies {
		for _, self := range []bool{false, true} {
			for _, user := range []string{"sam", "alice", "eve", "", plan.SystemVoter} { // sam has submitted the job
				for _, held := range [][]string{nil, {"lead"}, {"Lead"}, {"org-admin"}, {"platform-admin"}, {"platform-admin", "lead"}} {
					for _, approve := range []bool{true, false} {
						p := p
						p.AllowSelfApproval = self
						named := name == "anyone" || name != "roles" && slices.Contains(users, user) || name != "users" && slices.Contains(held, "lead")
						want := ""
						switch {
						case user == "sam" && !self:
							want = "SELF_APPROVAL_FORBIDDEN"
						case user == "", user == plan.SystemVoter, !named:
							want = "NOT_AN_APPROVER"
						}
						a := &Approval{Task: "ok", SubmittedBy: "sam", State: Pending, Policy: &p}
						_, _, err := a.Cast(Ballot{User: user, Roles: held, Approve: approve, Comment: "because"}, time.Unix(1, 0))
						if errs.Reason(err) != want || (len(a.Votes) == 0) != (want != "") {
							t.Errorf("%s, self %v: %q with %v, %v: %v, want %q", name, self, user, held, approve, err, want)
						}
					}
				}
			}
		}
	}
}

// TestAVoteIsForWhatWasSeen: whatever makes it another question makes it another digest.
func TestAVoteIsForWhatWasSeen(t *testing.T) {
	seen := Approval{Task: "ok", Description: "Ship?", State: Pending, Policy: &plan.Approval{MinApprovals: 1}, Round: 1}
	for name, change := range map[string]func(a *Approval){
		"nothing":    func(*Approval) {},
		"run":        func(a *Approval) { a.ID[0]++ },
		"org":        func(a *Approval) { a.Org = "o" },
		"definition": func(a *Approval) { a.Definition = "d" },
		"task":       func(a *Approval) { a.Idx++ },
		"round":      func(a *Approval) { a.Round++ },
		"question":   func(a *Approval) { a.Description = "Delete?" },
		"policy":     func(a *Approval) { a.Policy = &plan.Approval{MinApprovals: 2} },
	} {
		now := seen
		change(&now)
		want := "APPROVAL_CHANGED"
		if name == "nothing" {
			want = ""
		}
		if _, _, err := now.Cast(Ballot{User: "bob", Approve: true, Digest: seen.Digest()}, time.Unix(1, 0)); errs.Reason(err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestReason(t *testing.T) {
	at := time.Unix(1, 0)
	for want, a := range map[string]Approval{
		"waits for 1 approval; everybody may vote":                                        {Policy: &plan.Approval{MinApprovals: 1}},
		"waits for 1 approval; everybody but the submitter may vote":                      {Policy: &plan.Approval{MinApprovals: 1}, SubmittedBy: "sam"},
		"waits for 1 more approval of 2; alice and bob may vote":                          {Policy: &plan.Approval{MinApprovals: 2, AllowedUsers: []string{"alice", "bob"}}, Votes: []Vote{{Voter: "alice", Approve: true}}},
		"waits for 2 approvals; alice, bob and role lead may vote":                        {Policy: &plan.Approval{MinApprovals: 2, AllowedUsers: []string{"alice", "bob", "sam"}, AllowedRoles: []string{"lead"}}, SubmittedBy: "sam"},
		"waits for 1 approval; nobody may vote, because only the submitter is allowed to": {Policy: &plan.Approval{MinApprovals: 1, AllowedUsers: []string{"sam"}}, SubmittedBy: "sam"},
		"waits for 1 approval; bob may vote; nobody decided in time, which was escalated": {Policy: &plan.Approval{MinApprovals: 1, AllowedUsers: []string{"bob"}}, EscalatedAt: &at},
	} {
		if got := a.Reason(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
