package request

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Gate is what keeps a request from running. The names are those of the contract without the prefix.
type Gate string

// The gates.
const (
	GateSchedule    Gate = "SCHEDULE"
	GateConcurrency Gate = "CONCURRENCY"
	GateCapacity    Gate = "CAPACITY"
	GateNoAnt       Gate = "NO_ANT"
	GatePause       Gate = "PAUSE"
	GateDisabled    Gate = "DISABLED"
	GateDependency  Gate = "DEPENDENCY"
	GateQueue       Gate = "QUEUE"
	GateApproval    Gate = "APPROVAL"
	GateQuota       Gate = "QUOTA"
)

// Wait says why a request or a task does not run.
type Wait struct {
	Gate    Gate
	Reason  string
	Holders []string
	// Rank in its queue, 1 is next; 0 when unknown.
	Rank int64
}

// ClosedGate is a gate that the scheduler found closed for a job type or for a placement class.
type ClosedGate struct {
	OrgID          string
	JobType        string
	PlacementClass string
	Gate           Gate
	Reason         string
	Holders        []string
}

// Standing is what stands around a pending request.
type Standing struct {
	// Disabled, MaxConcurrency, Active and Holders are of the job type. Holders are some of the active requests.
	Disabled       bool
	MaxConcurrency int
	Active         int
	Holders        []string
	// Ancestors of the request are among those that are active, the nearest first. They are looked for when its rank is.
	Ancestors []string
	// Gates are the closed gates of its job type and of its placement class.
	Gates []ClosedGate
	// Rank among the queued requests of its job type.
	Rank int64
}

// Explain says why rec does not run; nil when it is terminal, or admitted so that only supervisor knows.
func Explain(rec *Record, s Standing, now time.Time) *Wait {
	switch rec.State {
	case Paused:
		return &Wait{Gate: GatePause, Reason: pausedUntil(rec)}
	case Manual:
		return &Wait{Gate: GateApproval, Reason: "it waits for the approval of a person"}
	case Pending:
		w := explainPending(rec, s, now)
		w.Rank = s.Rank
		return w
	default:
		return nil
	}
}

// running says what holds the places of a job type.
func running(jobType string, s Standing) string {
	verb := "run"
	if s.Active == 1 {
		verb = "runs"
	}
	text := fmt.Sprintf("%d of at most %d of %s %s: %s", s.Active, s.MaxConcurrency, jobType, verb, strings.Join(s.Holders, ", "))
	if more := s.Active - len(s.Holders); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// StateReason is why it is in its state: why it ended, or why it is paused.
func (r *Record) StateReason() string {
	if r.State == Paused && r.ErrorMessage == "" {
		return pausedUntil(r)
	}
	return r.ErrorMessage
}

// holders are those of the places, its own ancestors before others.
func holders(s Standing) []string {
	all := slices.Clone(s.Ancestors)
	for _, h := range s.Holders {
		if !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// kin warns of places that a request waits for and its own ancestors hold: where these wait for it, nothing goes on.
func kin(s Standing) string {
	switch len(s.Ancestors) {
	case 0:
		return ""
	case 1:
		return "; " + s.Ancestors[0] + " is its own ancestor: where that waits for this one, both wait until a timeout, or until max_concurrency is raised"
	}
	return "; " + strings.Join(s.Ancestors, ", ") + " are its own ancestors: where they wait for this one, all wait until a timeout, or until max_concurrency is raised"
}

func pausedUntil(rec *Record) string {
	if rec.ResumeAt != nil && !rec.ResumeAt.After(rec.UpdatedAt) {
		// A decision ends the wait of a request that counted against no limit: it needs a place before it goes on.
		return "what it waited for is decided, it goes on as soon as it is admitted again"
	}
	if rec.ResumeAt != nil {
		return "it is paused and resumes by itself at " + rec.ResumeAt.UTC().Format(time.RFC3339)
	}
	return "it is paused until somebody resumes it"
}

func explainPending(rec *Record, s Standing, now time.Time) *Wait {
	if rec.CancelRequestedAt != nil {
		return &Wait{Gate: GatePause, Reason: "it is being cancelled"}
	}
	if rec.ScheduledAt != nil && rec.ScheduledAt.After(now) {
		return &Wait{Gate: GateSchedule, Reason: "it is scheduled for " + rec.ScheduledAt.UTC().Format(time.RFC3339)}
	}
	if s.Disabled {
		return &Wait{Gate: GateDisabled, Reason: fmt.Sprintf("job type %s is disabled", rec.JobType)}
	}
	if s.MaxConcurrency > 0 && s.Active >= s.MaxConcurrency {
		return &Wait{Gate: GateConcurrency, Holders: holders(s), Reason: running(rec.JobType, s) + kin(s)}
	}
	for _, g := range s.Gates {
		// Concurrency and the switch were looked at above; what the last pass stored of them is older.
		if g.Gate != GateConcurrency && g.Gate != GateDisabled {
			return &Wait{Gate: g.Gate, Reason: g.Reason, Holders: g.Holders}
		}
	}
	return &Wait{Gate: GateQueue, Reason: "it is due and waits for the next pass of the scheduler"}
}
