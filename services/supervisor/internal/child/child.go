// Package child looks after the jobs that tasks fork: it submits them, cancels them, and hears how they end.
//
// A row in the table child is written by the step that makes a task wait for it. The loop takes what is due, asks
// job-manager in batches and brings the answers back as events of the run:
//
//	WANTED ──submit──▶ SUBMITTED ──────────ended──▶ ENDED
//	   │ ╲ refused ─▶ REFUSED │                      ▲
//	   └──────────▶ CANCEL_WANTED ──cancel──▶ CANCELLING
//
// Everything may happen twice: job-manager answers for a key that it knows with the job that it has, and an event that
// changes nothing is ignored. What is taken is hidden from the other replicas for a while (see lease) instead of being
// locked, so that no transaction is open during a call.
package child

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Key names a child: the round-th that a task forked.
type Key struct {
	Execution uuid.UUID
	Idx       int
	Round     int
}

// String is the key on the wire.
func (k Key) String() string { return fmt.Sprintf("%s/%d/%d", k.Execution, k.Idx, k.Round) }

// ParseKey reads a key from the wire.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Key{}, fmt.Errorf("read key %q of a child: want execution/task/round", s)
	}
	id, err := uuid.Parse(parts[0])
	if err != nil {
		return Key{}, fmt.Errorf("read key %q of a child: %w", s, err)
	}
	k := Key{Execution: id}
	if k.Idx, err = strconv.Atoi(parts[1]); err != nil || k.Idx < 0 {
		return Key{}, fmt.Errorf("read key %q of a child: %q is no index of a task", s, parts[1])
	}
	if k.Round, err = strconv.Atoi(parts[2]); err != nil || k.Round < 0 {
		return Key{}, fmt.Errorf("read key %q of a child: %q is no number of a round", s, parts[2])
	}
	return k, nil
}

// Place is a task, in the order in which those that wait are looked through.
type Place struct {
	Execution uuid.UUID
	Idx       int
}

// Wanted is a job to be submitted.
type Wanted struct {
	Key
	Org         string
	Parent      uuid.UUID // request
	Task        string    // that forks
	JobType     string
	Version     string
	Params      []byte // JSON object
	SubmittedBy string // who submitted the parent
	Tries       int    // of submitting it, this one included
}

// Cancel is a job to be cancelled.
type Cancel struct {
	Key
	Submitted bool // as far as its row knows
}

// Answer says what became of a submission.
type Answer struct {
	Request uuid.UUID
	Refused string // why it can never be submitted
	Reason  string // of the refusal, for machines
	Retry   bool   // it could not be decided now
}

// Ended is how a child stands.
type Ended struct {
	Key
	Request  uuid.UUID
	Run      int
	State    string // of the request
	Terminal bool
	Code     string
	Message  string
}

// Peer is job-manager.
type Peer interface {
	// Submit answers for each child, in order.
	Submit(ctx context.Context, children []Wanted) ([]Answer, error)
	// Cancel asks for the end of children.
	Cancel(ctx context.Context, keys []Key, reason string) error
	// Children returns those that exist.
	Children(ctx context.Context, keys []Key) ([]Ended, error)
}

// Store keeps children.
type Store interface {
	// TakeWanted returns children to be submitted and hides them for the lease.
	TakeWanted(ctx context.Context, lease time.Duration, limit int) ([]Wanted, error)
	// TakeCancels does the same for those to be cancelled.
	TakeCancels(ctx context.Context, lease time.Duration, limit int) ([]Cancel, error)
	// TakeSilent returns children that job-manager has not been asked about for the time, and notes that it is now.
	TakeSilent(ctx context.Context, silence time.Duration, limit int) ([]Key, error)
	// Later makes children due again after the delay of each.
	Later(ctx context.Context, keys []Key, delays []time.Duration) error
	// Cancelling notes that job-manager knows which children are to end.
	Cancelling(ctx context.Context, keys []Key) error
	// Unheard returns, as the events that were lost, what the tasks that wait for children have not heard of: of as many
	// waiting tasks as limit says, the ones after a place. It returns the place to go on from, the zero one at the end.
	Unheard(ctx context.Context, after Place, limit int) ([]execution.Event, Place, error)
	// Outputs returns what runs have given, by run; bounded.
	Outputs(ctx context.Context, runs []execution.Key) (map[execution.Key]map[string]string, error)
	// ExitCodes returns those of the tasks that failed runs, by run; 0 is left out.
	ExitCodes(ctx context.Context, runs []execution.Key) (map[execution.Key]int, error)
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
}

// The states of a request that went well. A job that its own condition skipped is no failure of the one that forked it.
const (
	stateCompleted = "COMPLETED"
	stateSkipped   = "SKIPPED"
)

// events makes the news of children that ended events of their parents' runs.
func events(ended []Ended, outputs map[execution.Key]map[string]string, codes map[execution.Key]int) []execution.Event {
	all := make([]execution.Event, 0, len(ended))
	for i := range ended {
		e := &ended[i]
		run := execution.Key{Request: e.Request, Run: e.Run}
		news := execution.ChildNews{
			Request: e.Request, State: e.State, ErrorCode: e.Code, Message: e.Message, Outputs: outputs[run], ExitCode: codes[run],
		}
		if e.State == stateSkipped {
			news.State = stateCompleted
		}
		all = append(all, execution.Event{Kind: execution.ChildEnded, Execution: e.Execution, Idx: e.Idx, Round: e.Round, Child: news})
	}
	return all
}

// answered makes the answers to submissions events; later are the children to be submitted again.
func answered(asked []Wanted, answers []Answer) (all []execution.Event, later []Wanted) {
	for i := range asked {
		e := execution.Event{Execution: asked[i].Execution, Idx: asked[i].Idx, Round: asked[i].Round}
		switch a := &answers[i]; {
		case a.Request != uuid.Nil:
			e.Kind, e.Child.Request = execution.ChildSubmitted, a.Request
		case a.Retry || a.Refused == "":
			later = append(later, asked[i])
			continue
		default:
			e.Kind, e.Child.ErrorCode, e.Child.Message = execution.ChildRefused, a.Reason, a.Refused
		}
		all = append(all, e)
	}
	return all, later
}

// delay is how long a child waits that could not be submitted now.
func delay(tries int) time.Duration {
	const first, most = 250 * time.Millisecond, time.Minute
	return min(first<<min(max(tries-1, 0), 10), most)
}
