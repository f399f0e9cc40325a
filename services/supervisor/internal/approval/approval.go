// Package approval holds the decisions that tasks wait for: who may vote, when the votes decide, and what is said to
// people about it. What a decision does to the job is the engine's business.
package approval

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// State is the state of an approval.
type State string

// The states of an approval.
const (
	Pending   State = "PENDING"
	Approved  State = "APPROVED"
	Rejected  State = "REJECTED"
	Cancelled State = "CANCELLED" // with its task or run
)

// Approval is a decision that a task waits for.
type Approval struct {
	execution.Run
	Idx         int
	Round       int // how often the task has asked for it
	Task        string
	Description string
	SubmittedBy string // who submitted the job
	State       State
	Policy      *plan.Approval
	Votes       []Vote // from the first
	RequestedAt time.Time
	DueAt       *time.Time
	EscalatedAt *time.Time
	DecidedAt   *time.Time
	// Takes are the outputs that votes may give; none but those of a MANUAL task.
	Takes []plan.Output
}

// Digest says what is decided: a run, which has its definition and its parameters for good, and how often the task asks in it.
func (a *Approval) Digest() string {
	policy, err := json.Marshal(a.Policy)
	if err != nil {
		panic(err) // it has plain fields
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %d %q %q", a.Org, a.ID, a.Definition, a.Idx, a.Round, a.Description, policy))
	return hex.EncodeToString(sum[:])
}

// Vote is one person's decision.
type Vote struct {
	Voter   string
	Approve bool
	Comment string
	Values  map[string]string // for the outputs of the task
	At      time.Time
}

// Ballot is a vote that somebody wants to cast.
type Ballot struct {
	Key     execution.Key // the newest run when Run is 0
	Org     string
	Task    string
	User    string
	Roles   []string
	Approve bool
	Comment string
	Values  map[string]string
	// Digest, or its beginning, is that of the approval that the voter has seen; empty for whatever waits now.
	Digest string
}

// Page asks for a page of pending approvals of an organisation.
type Page struct {
	Org   string
	After Cursor
	Size  int
}

// Cursor is the last approval of the page before.
type Cursor struct {
	RequestedAt time.Time
	Execution   uuid.UUID
	Idx         int
}

// Store keeps approvals.
type Store interface {
	// Vote casts a ballot and goes on with the run when that decides, in one transaction.
	Vote(ctx context.Context, b Ballot) (*Approval, error)
	// Approval returns the newest approval of a task.
	Approval(ctx context.Context, org string, key execution.Key, task string) (*Approval, error)
	// Pending lists what waits for votes, the oldest first.
	Pending(ctx context.Context, p Page) ([]*Approval, error)
}

// Cast adds a vote if it may be cast, and says what the votes decide now.
func (a *Approval) Cast(b Ballot, now time.Time) (outcome string, decided bool, err error) {
	if err := a.check(b); err != nil {
		return "", false, err
	}
	a.Votes = append(a.Votes, Vote{Voter: b.User, Approve: b.Approve, Comment: b.Comment, Values: b.Values, At: now})
	outcome, decided = a.electorate().Outcome(a.votes())
	if err := a.checkGiven(decided && outcome == plan.OutcomeApproved); err != nil {
		a.Votes = a.Votes[:len(a.Votes)-1]
		return "", false, err
	}
	if decided {
		a.State, a.DecidedAt = State(outcome), &now
	}
	return outcome, decided, nil
}

func (a *Approval) check(b Ballot) error {
	switch {
	case a.State != Pending:
		return errs.Precondition("APPROVAL_NOT_PENDING", "task %s does not wait for votes any more: it is %s", a.Task, a.State.shown())
	case !strings.HasPrefix(a.Digest(), b.Digest):
		return errs.Precondition("APPROVAL_CHANGED", "task %s asks about something else now than what you have seen: look at it again (formicary request approvals), then vote", a.Task)
	case !b.Approve && strings.TrimSpace(b.Comment) == "":
		return errs.Invalid("COMMENT_REQUIRED", "a rejection needs a comment")
	case a.ownJob(b.User):
		return errs.Denied("SELF_APPROVAL_FORBIDDEN", "%s submitted the job and cannot decide about it: another person votes (where nobody logs in: formicary request approve … --user NAME), or the task has approval_policy: {allow_self_approval: true}", b.User)
	case !a.Policy.MayVote(b.User, b.Roles):
		return errs.Denied("NOT_AN_APPROVER", "%s %s", b.User, a.mayNot(b.Roles))
	case slices.ContainsFunc(a.Votes, func(v Vote) bool { return v.Voter == b.User }):
		return errs.Conflict("ALREADY_VOTED", "%s has voted on task %s already", b.User, a.Task)
	}
	return a.checkValues(b.Values)
}

// ownJob says that the four-eyes rule keeps the user from voting.
func (a *Approval) ownJob(user string) bool {
	return !a.Policy.AllowSelfApproval && a.SubmittedBy != "" && user == a.SubmittedBy
}

func (a *Approval) mayNot(roles []string) string {
	text := "may not decide about task " + a.Task + ": " + a.voters()
	if len(a.Policy.AllowedRoles) > 0 && len(roles) == 0 {
		text += "; the call names no roles"
	}
	return text
}

// electorate is the policy without the one who cannot vote under the four-eyes rule: a unanimous decision does not
// wait for it.
func (a *Approval) electorate() *plan.Approval {
	if !a.Policy.RequireUnanimous || !slices.ContainsFunc(a.Policy.AllowedUsers, a.ownJob) {
		return a.Policy
	}
	p := *a.Policy
	p.AllowedUsers = slices.DeleteFunc(slices.Clone(p.AllowedUsers), a.ownJob)
	if len(p.AllowedUsers) == 0 {
		return a.Policy // nobody is left: the time limit or a cancel ends it
	}
	return &p
}

func (a *Approval) votes() []plan.Vote {
	votes := make([]plan.Vote, len(a.Votes))
	for i, v := range a.Votes {
		votes[i] = plan.Vote{Voter: v.Voter, Approve: v.Approve}
	}
	return votes
}

// shown is the state in the words of the contract.
func (s State) shown() string {
	if s == Cancelled {
		return "WITHDRAWN"
	}
	return string(s)
}

// Reason says what a pending approval waits for.
func (a *Approval) Reason() string {
	p := a.electorate()
	needed := max(p.MinApprovals, 1)
	if p.RequireUnanimous && len(p.AllowedUsers) > 0 && len(p.AllowedRoles) == 0 {
		needed = len(p.AllowedUsers)
	}
	given := 0
	for _, v := range a.Votes {
		if v.Approve {
			given++
		}
	}
	missing := max(needed-given, 1)
	text := fmt.Sprintf("waits for %d more %s of %d", missing, plural(missing, "approval"), needed)
	if given == 0 {
		text = fmt.Sprintf("waits for %d %s", needed, plural(needed, "approval"))
	}
	text += "; " + a.voters()
	if a.EscalatedAt != nil {
		text += "; nobody decided in time, which was escalated"
	}
	return text
}

// voters says who may vote.
func (a *Approval) voters() string {
	var who []string
	for _, u := range a.Policy.AllowedUsers {
		if !a.ownJob(u) {
			who = append(who, u)
		}
	}
	for _, r := range a.Policy.AllowedRoles {
		who = append(who, "role "+r)
	}
	switch {
	case len(a.Policy.AllowedUsers)+len(a.Policy.AllowedRoles) > 0 && len(who) == 0:
		return "nobody may vote, because only the submitter is allowed to"
	case len(who) > 0:
		return list(who) + " may vote"
	case a.SubmittedBy != "" && !a.Policy.AllowSelfApproval:
		return "everybody but the submitter may vote"
	}
	return "everybody may vote"
}

// list joins names as a person does.
func list(names []string) string {
	const most = 8
	if more := len(names) - most; more > 0 {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("%d more", more))
	}
	if len(names) == 1 {
		return names[0]
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
