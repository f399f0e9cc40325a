package errorrule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Actions of error rules.
const (
	ActionRetryTask   = "RETRY_TASK"
	ActionRetryJob    = "RETRY_JOB"
	ActionSuspendJob  = "SUSPEND_JOB"
	ActionHardFailure = "HARD_FAILURE"
)

// Rule turns a failure of a task into an error code and an action. All conditions that are set must hold.
type Rule struct {
	// JobType, Task and Platform it is for; empty or "*": all.
	JobType  string `json:"job_type,omitempty"`
	Task     string `json:"task,omitempty"`
	Platform string `json:"platform,omitempty"`
	// Command is text that the script contains.
	Command string `json:"command,omitempty"`
	// Regex matches in the message of the failure, which ends with the last lines of the log.
	Regex string `json:"regex,omitempty"`
	// ExitCode is a code or a range, as a key of on_exit_code.
	ExitCode string `json:"exit_code,omitempty"`
	// ErrorCode that the failure gets; Message replaces its text; DisplayCode is put before it.
	ErrorCode   string `json:"error_code"`
	Message     string `json:"message,omitempty"`
	DisplayCode string `json:"display_code,omitempty"`
	// Action is one of the Action constants above, or empty.
	Action string `json:"action,omitempty"`
	// Retry bounds RETRY_TASK and RETRY_JOB; 0: the budget of the task or job.
	Retry int `json:"retry,omitempty"`
}

// Failure is what rules are matched with.
type Failure struct {
	JobType  string
	Task     string
	Platform string
	Script   []string
	ExitCode int
	Message  string
}

// Bounds of a rule.
const (
	maxRuleText  = 1000
	maxRuleRetry = 1_000
)

// ruleActions lists the actions of rules.
func ruleActions() []string {
	return []string{ActionRetryTask, ActionRetryJob, ActionSuspendJob, ActionHardFailure}
}

// Check reports what is wrong with a rule, all of it at once.
func (r *Rule) Check() error {
	var wrong []string
	if !value.ValidName(r.ErrorCode) {
		wrong = append(wrong, "error_code is missing or no name")
	}
	for _, text := range [...]struct{ field, value string }{
		{"job_type", r.JobType},
		{"task", r.Task},
		{"platform", r.Platform},
		{"command", r.Command},
		{"regex", r.Regex},
		{"message", r.Message},
		{"display_code", r.DisplayCode},
	} {
		if len(text.value) > maxRuleText {
			wrong = append(wrong, fmt.Sprintf("%s is longer than %d bytes", text.field, maxRuleText))
		}
	}
	if _, err := r.pattern(); err != nil {
		wrong = append(wrong, "regex is no regular expression of Go (RE2)")
	}
	if r.ExitCode != "" && r.ExitCode != "*" {
		if k, err := plan.ParseKey(r.ExitCode); err != nil || k.State != "" {
			wrong = append(wrong, "exit_code is no code and no range such as 500-599 or 4xx")
		}
	}
	if r.Action != "" && !slices.Contains(ruleActions(), r.Action) {
		wrong = append(wrong, "action is none of "+strings.Join(ruleActions(), ", "))
	}
	if r.Retry < 0 || r.Retry > maxRuleRetry {
		wrong = append(wrong, fmt.Sprintf("retry is not from 0 to %d", maxRuleRetry))
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// Match returns the first rule that fits, or nil. SortRules makes the first the most specific one.
func Match(rules []Rule, f Failure) *Rule {
	for i := range rules {
		if rules[i].fits(&f) {
			return &rules[i]
		}
	}
	return nil
}

// fits compares the regular expression last: it is the only condition that costs something.
func (r *Rule) fits(f *Failure) bool {
	if !scopeFits(r.JobType, f.JobType) || !scopeFits(r.Task, f.Task) || !scopeFits(r.Platform, f.Platform) {
		return false
	}
	if r.ExitCode != "" && !plan.CodeFits(r.ExitCode, f.ExitCode) {
		return false
	}
	if r.Command != "" && !slices.ContainsFunc(f.Script, func(line string) bool { return strings.Contains(line, r.Command) }) {
		return false
	}
	if r.Regex == "" {
		return true
	}
	re, err := r.pattern()
	return err == nil && re.MatchString(f.Message)
}

// pattern is the regular expression: ^ and $ are the ends of a line, as for those who search a log.
func (r *Rule) pattern() (*regexp.Regexp, error) { return regexp.Compile("(?m)" + r.Regex) }

func scopeFits(scope, name string) bool { return scope == "" || scope == "*" || scope == name }

// Sort puts the most specific rules first: those of a job type, then those of a task, of an exact exit code, of a
// range (the narrowest first), with a regular expression, with a command, of a platform. Equal ones keep their order.
func Sort(rules []Rule) {
	slices.SortStableFunc(rules, func(a, b Rule) int {
		return slices.Compare(a.rank(), b.rank())
	})
}

// rank is smaller the more specific a rule is.
func (r *Rule) rank() []int {
	missing := func(text string) int {
		if text == "" || text == "*" {
			return 1
		}
		return 0
	}
	code := 3 * plan.MaxCode // wider than any range
	if k, err := plan.ParseKey(r.ExitCode); err == nil && !k.Any && k.State == "" {
		code = k.High - k.Low
	}
	return []int{missing(r.JobType), missing(r.Task), code, missing(r.Regex), missing(r.Command), missing(r.Platform)}
}
