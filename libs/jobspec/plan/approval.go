package plan

import (
	"slices"
	"time"
)

// What happens when nobody decides in time.
const (
	AutoApprove = "AUTO_APPROVE"
	AutoReject  = "AUTO_REJECT"
	Escalate    = "ESCALATE"
)

// Outcomes of an approval, which routes can name.
const (
	OutcomeApproved = "APPROVED"
	OutcomeRejected = "REJECTED"
)

// SystemVoter votes when nobody did in time.
const SystemVoter = "system:sla-timeout"

// Approval is who has to agree before a task completes.
type Approval struct {
	// MinApprovals that are needed, at least 1.
	MinApprovals int `json:"min_approvals"`
	// AllowedUsers and AllowedRoles may vote; both empty: everyone.
	AllowedUsers []string `json:"allowed_users,omitempty"`
	AllowedRoles []string `json:"allowed_roles,omitempty"`
	// RequireUnanimous refuses at the first rejection, and needs all AllowedUsers to approve when there are no roles.
	RequireUnanimous bool `json:"require_unanimous,omitempty"`
	// AllowSelfApproval lets the submitter of the job vote.
	AllowSelfApproval bool `json:"allow_self_approval,omitempty"`
	// SLA is the time to decide in; 0 means no bound. TimeoutAction is what happens then.
	SLA           time.Duration `json:"sla,omitempty"`
	TimeoutAction string        `json:"timeout_action,omitempty"`
	// EscalationRecipients hear of it when TimeoutAction is ESCALATE, with EscalationMessage.
	EscalationRecipients []string `json:"escalation_recipients,omitempty"`
	EscalationMessage    string   `json:"escalation_message,omitempty"`
}

// DefaultApproval is the policy of a task that has none.
func DefaultApproval() *Approval { return &Approval{MinApprovals: 1, TimeoutAction: Escalate} }

// Vote is what one person, or SystemVoter, said.
type Vote struct {
	Voter   string
	Approve bool
}

// MayVote reports whether a person may vote. Whether submitters may vote on their own job is AllowSelfApproval, which
// the caller checks: the policy does not know who submitted.
func (p *Approval) MayVote(user string, roles []string) bool {
	if user == "" || user == SystemVoter {
		return false
	}
	if len(p.AllowedUsers)+len(p.AllowedRoles) == 0 || slices.Contains(p.AllowedUsers, user) {
		return true
	}
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(p.AllowedRoles, role) })
}

// Outcome says what the votes decide: APPROVED once enough approve, REJECTED once as many reject, once nobody may reject
// any more (unanimous), or once the users that may still vote are too few. The first vote of a person counts. A vote of
// SystemVoter decides by itself.
func (p *Approval) Outcome(votes []Vote) (outcome string, decided bool) {
	voted := make(map[string]bool, len(votes))
	approvals, rejections := 0, 0
	for _, v := range votes {
		switch {
		case voted[v.Voter]:
		case v.Voter == SystemVoter && v.Approve:
			return OutcomeApproved, true
		case v.Voter == SystemVoter:
			return OutcomeRejected, true
		case v.Approve:
			approvals++
		default:
			rejections++
		}
		voted[v.Voter] = true
	}
	needed := max(p.MinApprovals, 1)
	closed := len(p.AllowedUsers) > 0 && len(p.AllowedRoles) == 0 // nobody else can vote
	if p.RequireUnanimous && closed {
		needed = len(p.AllowedUsers)
	}
	switch {
	case p.RequireUnanimous && rejections > 0, rejections >= max(p.MinApprovals, 1):
		return OutcomeRejected, true
	case approvals >= needed:
		return OutcomeApproved, true
	case closed && approvals+p.silent(voted) < needed:
		return OutcomeRejected, true
	}
	return "", false
}

// silent counts the allowed users that have not voted.
func (p *Approval) silent(voted map[string]bool) int {
	n := 0
	for _, user := range p.AllowedUsers {
		if !voted[user] {
			n++
		}
	}
	return n
}
