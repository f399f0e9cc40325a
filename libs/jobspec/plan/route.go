package plan

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Outcomes of a task that routes can name.
const (
	OutcomeCompleted = "COMPLETED"
	OutcomeFailed    = "FAILED"
	OutcomeTimedOut  = "TIMED_OUT"
)

// States are the outcomes that no code tells.
func States() []string {
	return []string{OutcomeCompleted, OutcomeFailed, OutcomeTimedOut, OutcomeApproved, OutcomeRejected}
}

// Actions that a route can name instead of tasks.
const (
	ActionCompleted       = "COMPLETED"
	ActionFailed          = "FAILED"
	ActionFatal           = "FATAL"
	ActionRestartJob      = "RESTART_JOB"
	ActionRestartTask     = "RESTART_TASK"
	ActionPauseJob        = "PAUSE_JOB"
	ActionExecuting       = "EXECUTING"
	ActionWaitForApproval = "WAIT_FOR_APPROVAL"
)

// errorAction begins an action that fails the job with the rest of it as error code.
const errorAction = "ERR_"

// Route says what follows when a task ends in a certain way.
type Route struct {
	// Key is COMPLETED, FAILED, TIMED_OUT, APPROVED, REJECTED, an exact code ("3"), a range ("500-599", "4xx") or "*".
	Key string `json:"key"`
	// Targets are task names, or exactly one action (see IsAction).
	Targets []string `json:"targets"`
}

// IsAction reports whether a target is an action of the engine and not a task.
func IsAction(target string) bool {
	switch target {
	case ActionCompleted, ActionFailed, ActionFatal, ActionRestartJob, ActionRestartTask, ActionPauseJob,
		ActionExecuting, ActionWaitForApproval:
		return true
	}
	return len(target) > len(errorAction) && strings.HasPrefix(target, errorAction)
}

// Match returns the route of the most specific key that fits: an exact code, then the narrowest range, then the state,
// then "*". The outcome is COMPLETED, FAILED or TIMED_OUT; a timeout falls back to FAILED. Codes are compared for
// processes and HTTP answers only: a timeout has none, and neither has a failure with code 0.
func (t *Task) Match(outcome string, exitCode int) (Route, bool) {
	hasCode := outcome != OutcomeTimedOut && (outcome == OutcomeCompleted || exitCode != 0)
	for _, r := range t.Routes {
		key, err := ParseKey(r.Key)
		if err != nil {
			continue
		}
		switch {
		case key.Any, key.State == outcome && outcome != "",
			key.State == OutcomeFailed && outcome == OutcomeTimedOut,
			key.State == "" && hasCode && key.Low <= exitCode && exitCode <= key.High:
			return r, true
		}
	}
	return Route{}, false
}

// IsAction says that the route names an action and no tasks.
func (r Route) IsAction() bool { return len(r.Targets) == 1 && IsAction(r.Targets[0]) }

// OfCode says that its key is a code or a range of codes, and no state.
func (r Route) OfCode() bool {
	switch r.Key {
	case OutcomeCompleted, OutcomeFailed, OutcomeTimedOut, OutcomeApproved, OutcomeRejected, "*":
		return false
	}
	return true
}

// StateRoute returns the route of a state, whatever the exit code.
func (t *Task) StateRoute(outcome string) (Route, bool) {
	for _, r := range t.Routes {
		if r.Key == outcome || r.Key == "*" || r.Key == OutcomeFailed && outcome == OutcomeTimedOut {
			return r, true
		}
	}
	return Route{}, false
}

// TasksOf returns the tasks that the route of a state names; an action is none.
func (t *Task) TasksOf(outcome string) []string {
	route, _ := t.StateRoute(outcome)
	if route.IsAction() {
		return nil
	}
	return route.Targets
}

// Key is a parsed key: a state, any, or a range of codes.
type Key struct {
	State     string
	Any       bool
	Low, High int
}

// MaxCode bounds exit codes and HTTP statuses in keys.
const MaxCode = 99999

// ParseKey reads a key of on_exit_code.
func ParseKey(key string) (Key, error) {
	switch key {
	case "*":
		return Key{Any: true}, nil
	case OutcomeCompleted, OutcomeFailed, OutcomeTimedOut, OutcomeApproved, OutcomeRejected:
		return Key{State: key}, nil
	}
	if low, high, ok := parseClass(key); ok {
		return Key{Low: low, High: high}, nil
	}
	if low, err := parseCode(key); err == nil {
		return Key{Low: low, High: low}, nil
	}
	first, second, ok := strings.Cut(key, "-")
	if !ok {
		return Key{}, fmt.Errorf("key %q", key)
	}
	low, err := parseCode(strings.TrimSpace(first))
	if err != nil {
		return Key{}, err
	}
	high, err := parseCode(strings.TrimSpace(second))
	if err != nil || high < low {
		return Key{}, fmt.Errorf("range %q", key)
	}
	return Key{Low: low, High: high}, nil
}

// parseClass reads "4xx".
func parseClass(key string) (low, high int, ok bool) {
	if len(key) != 3 || key[0] < '1' || key[0] > '9' || !strings.EqualFold(key[1:], "xx") {
		return 0, 0, false
	}
	low = int(key[0]-'0') * 100
	return low, low + 99, true
}

func parseCode(s string) (int, error) {
	code, err := strconv.Atoi(s)
	if err != nil || code > MaxCode || code < -MaxCode || s[0] == '+' {
		return 0, fmt.Errorf("code %q", s)
	}
	return code, nil
}

// rank orders keys from the most to the least specific.
func (k Key) rank() int {
	const states = 4 * MaxCode
	switch {
	case k.Any:
		return states + 2
	case k.State == OutcomeFailed:
		return states + 1 // after TIMED_OUT, which falls back to it
	case k.State != "":
		return states
	}
	return k.High - k.Low
}

// SortRoutes puts routes into the order in which Match tries them.
func SortRoutes(routes []Route) {
	rank := func(r Route) int {
		key, err := ParseKey(r.Key)
		if err != nil {
			return 5 * MaxCode
		}
		return key.rank()
	}
	sort.SliceStable(routes, func(i, j int) bool { return rank(routes[i]) < rank(routes[j]) })
}
