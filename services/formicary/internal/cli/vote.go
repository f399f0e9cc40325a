package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// approvalGate is the gate of a task that waits for votes.
const approvalGate = "approval"

// ballot says how to vote on what waits for it, once each time that a task asks.
func (f *follower) ballot(ctx context.Context) {
	if f.progress == nil {
		return
	}
	r, err := f.c.request(ctx, f.id)
	if err != nil {
		return
	}
	tasks, err := f.c.tasks(ctx, r)
	if err != nil {
		return
	}
	for _, t := range tasks {
		if t.GetWaitGate() != approvalGate {
			continue
		}
		res, err := f.c.approvals.GetApproval(ctx, &executionv1.GetApprovalRequest{RequestId: r.GetId(), Task: t.GetName()})
		if err != nil {
			continue
		}
		p := res.GetApproval()
		asked := "vote " + t.GetName()
		if at := p.GetRequestedAt().AsTime().String(); f.printed[asked] != at {
			f.printed[asked] = at
			printf(f.progress, "%s", question(p, f.user, f.flags))
		}
	}
}

// question asks for votes and names the commands that give one; flags name the colony in them.
func question(p *executionv1.Approval, user, flags string) string {
	text := firstLine(p.GetDescription())
	if text == "" {
		text = "go on?"
	}
	votes := "1 vote"
	if n := p.GetMinApprovals(); n > 1 {
		votes = fmt.Sprintf("%d votes", n)
	}
	what := fmt.Sprintf("%s %s%s%s", short(p.GetRequestId()), word(p.GetTask()), voter(p, user), flags)
	return fmt.Sprintf("%s asks: %s (%s; who may: %s)\n  yes:  formicary request approve %s\n  no:   formicary request reject %s --comment WHY\n",
		p.GetTask(), text, votes, whoMay(p), what, what)
}

// voter is the flag that names somebody who may vote; none when the user may.
func voter(p *executionv1.Approval, user string) string {
	own := func(name string) bool { return name == p.GetSubmittedBy() && !p.GetAllowSelfApproval() }
	voted := func(name string) bool {
		return slices.ContainsFunc(p.GetVotes(), func(v *executionv1.Vote) bool { return v.GetVoter() == name })
	}
	users := p.GetAllowedUsers()
	anyone := len(users)+len(p.GetAllowedRoles()) == 0
	if (anyone || slices.Contains(users, user)) && !own(user) && !voted(user) {
		return ""
	}
	if i := slices.IndexFunc(users, func(name string) bool { return !own(name) && !voted(name) }); i >= 0 {
		return " --user " + word(users[i])
	}
	return " --user NAME"
}

// whoMay names who can vote.
func whoMay(p *executionv1.Approval) string {
	own := ""
	if !p.GetAllowSelfApproval() {
		own = p.GetSubmittedBy()
	}
	var who []string
	for _, name := range p.GetAllowedUsers() {
		if name != own {
			who = append(who, name)
		}
	}
	for _, role := range p.GetAllowedRoles() {
		who = append(who, "role "+role)
	}
	switch {
	case len(who) > 0:
		return strings.Join(who, ", ")
	case len(p.GetAllowedUsers()) > 0:
		return "nobody: only " + own + " is allowed to, who submitted the job"
	case own != "":
		return "anyone but " + own
	}
	return "anyone"
}
