package jobspec

import "time"

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
