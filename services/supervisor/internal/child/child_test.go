package child

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

func TestKeys(t *testing.T) {
	k := Key{Execution: uuid.New(), Idx: 7, Round: 2}
	if got, err := ParseKey(k.String()); err != nil || got != k {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "a/1/1", uuid.NewString(), uuid.NewString() + "/x/1", uuid.NewString() + "/1/x", uuid.NewString() + "/-1/1", k.String() + "/1"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err == nil || strings.Count(err.Error(), "want more than 0") != 3 {
		t.Error(err)
	}
}

func TestDelayGrows(t *testing.T) {
	if delay(1) != 250*time.Millisecond || delay(2) != 500*time.Millisecond || delay(99) != time.Minute || delay(0) != 250*time.Millisecond {
		t.Error(delay(1), delay(2), delay(99))
	}
}

// memory is a store and a peer of the loop.
type memory struct {
	wanted, hidden []Wanted
	cancels        []Cancel
	unheard        []execution.Event
	places         []Place // that Unheard was asked from
	cancelled      []Key
	applied        []execution.Event
	later          []Key
	outputs        map[execution.Key]map[string]string
	codes          map[execution.Key]int
	submit         func([]Wanted) ([]Answer, error)
	step           func([]execution.Event) error
	calls          int
	postponed      int // index of the task whose run cannot go on
}

func (m *memory) TakeWanted(context.Context, time.Duration, int) ([]Wanted, error) {
	w := m.wanted
	m.hidden, m.wanted = append(m.hidden, w...), nil
	return w, nil
}

func (m *memory) TakeCancels(context.Context, time.Duration, int) ([]Cancel, error) {
	k := m.cancels
	m.cancels = nil
	return k, nil
}

func (m *memory) TakeSilent(context.Context, time.Duration, int) ([]Key, error) { return nil, nil }

func (m *memory) Later(_ context.Context, keys []Key, _ []time.Duration) error {
	m.later = append(m.later, keys...)
	return nil
}

func (m *memory) Cancelling(_ context.Context, keys []Key) error {
	m.cancelled = append(m.cancelled, keys...)
	return nil
}

func (m *memory) Unheard(_ context.Context, after Place, _ int) ([]execution.Event, Place, error) {
	m.places = append(m.places, after)
	e := m.unheard
	m.unheard = nil
	return e, Place{Idx: len(m.places)}, nil
}

func (m *memory) ExitCodes(context.Context, []execution.Key) (map[execution.Key]int, error) {
	return m.codes, nil
}

func (m *memory) Outputs(context.Context, []execution.Key) (map[execution.Key]map[string]string, error) {
	return m.outputs, nil
}

func (m *memory) Step(_ context.Context, events []execution.Event) ([]execution.Verdict, error) {
	if m.step != nil {
		if err := m.step(events); err != nil {
			return nil, err
		}
	}
	m.applied = append(m.applied, events...)
	verdicts := make([]execution.Verdict, len(events))
	for i := range events {
		if events[i].Idx == m.postponed && m.postponed > 0 {
			verdicts[i] = execution.Postponed
		}
	}
	return verdicts, nil
}

func (m *memory) Submit(_ context.Context, w []Wanted) ([]Answer, error) {
	m.calls++
	return m.submit(w)
}

func (m *memory) Cancel(context.Context, []Key, string) error { return nil }

func (m *memory) Children(context.Context, []Key) ([]Ended, error) { return nil, nil }

func temporary(err error) bool { return errs.CodeOf(err) == errs.CodeUnavailable }

func loop(m *memory) *Loop {
	return New(DefaultConfig(), m, m, temporary, slog.New(slog.DiscardHandler))
}

func wanted(types ...string) []Wanted {
	all := make([]Wanted, len(types))
	for i, jobType := range types {
		all[i] = Wanted{Key: Key{Execution: uuid.New(), Idx: i}, JobType: jobType, Tries: 1}
	}
	return all
}

func accept(w []Wanted) ([]Answer, error) {
	answers := make([]Answer, len(w))
	for i := range w {
		switch w[i].JobType {
		case "broken":
			return nil, errs.Invalid("REQUEST_INVALID", "cannot be read")
		case "unknown":
			answers[i] = Answer{Refused: "no such job", Reason: "JOB_TYPE_NOT_FOUND"}
		case "busy":
			answers[i] = Answer{Retry: true}
		default:
			answers[i] = Answer{Request: uuid.New()}
		}
	}
	return answers, nil
}

func kinds(events []execution.Event) []execution.Kind {
	all := make([]execution.Kind, len(events))
	for i := range events {
		all[i] = events[i].Kind
	}
	return all
}

func TestAnswersBecomeEvents(t *testing.T) {
	m := &memory{wanted: wanted("etl", "unknown", "busy"), submit: accept}
	if err := loop(m).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kinds(m.applied); !slices.Equal(got, []execution.Kind{execution.ChildSubmitted, execution.ChildRefused}) {
		t.Errorf("events %v", got)
	}
	if m.applied[1].Child.ErrorCode != "JOB_TYPE_NOT_FOUND" || m.applied[1].Child.Message != "no such job" {
		t.Errorf("refusal %+v", m.applied[1].Child)
	}
	if len(m.later) != 1 || m.later[0].Idx != 2 {
		t.Errorf("later %v", m.later)
	}
}

func TestOneUnreadableChildIsRefusedAlone(t *testing.T) {
	m := &memory{wanted: wanted("etl", "broken", "etl"), submit: accept}
	if err := loop(m).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []execution.Kind{execution.ChildSubmitted, execution.ChildRefused, execution.ChildSubmitted}
	if got := kinds(m.applied); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}
}

func TestChildrenAreGivenBackWhenNobodyAnswers(t *testing.T) {
	away := errs.Unavailable("AWAY", "away")
	m := &memory{wanted: wanted("etl", "etl"), submit: func([]Wanted) ([]Answer, error) { return nil, away }}
	if err := loop(m).Round(t.Context()); !errors.Is(err, away) {
		t.Fatal(err)
	}
	if len(m.later) != 2 || len(m.applied) != 0 || m.calls != 1 {
		t.Errorf("%d later, %d applied, %d calls", len(m.later), len(m.applied), m.calls)
	}
}

func TestABadEventIsAppliedAlone(t *testing.T) {
	m := &memory{step: func(events []execution.Event) error {
		if slices.ContainsFunc(events, func(e execution.Event) bool { return e.Idx == 1 }) {
			return errors.New("no")
		}
		return nil
	}}
	ended := []Ended{{Key: Key{Idx: 0}, State: "FAILED"}, {Key: Key{Idx: 1}, State: "FAILED"}, {Key: Key{Idx: 2}, State: "FAILED"}}
	if err := Apply(t.Context(), m, temporary, ended); err == nil {
		t.Error("the fault is not reported")
	}
	if len(m.applied) != 2 {
		t.Errorf("applied %v", m.applied)
	}
}

func TestOutputsOfChildrenHoweverTheyEnd(t *testing.T) {
	done, failed := uuid.New(), uuid.New()
	m := &memory{
		outputs: map[execution.Key]map[string]string{{Request: done, Run: 2}: {"a": "1"}, {Request: failed, Run: 1}: {"a": "2"}},
		codes:   map[execution.Key]int{{Request: failed, Run: 1}: 42},
	}
	err := Apply(t.Context(), m, temporary, []Ended{
		{Request: done, Run: 2, State: "COMPLETED"}, {Request: failed, Run: 1, State: "FAILED", Code: "ERR_X"}, {Request: uuid.New(), State: "CANCELLED"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := m.applied[0].Child; c.Outputs["a"] != "1" || c.ExitCode != 0 {
		t.Errorf("completed: %+v", c)
	}
	if c := m.applied[1].Child; c.Outputs["a"] != "2" || c.ExitCode != 42 || c.ErrorCode != "ERR_X" {
		t.Errorf("failed: %+v", c)
	}
	if c := m.applied[2].Child; c.Outputs != nil || c.State != "CANCELLED" {
		t.Errorf("never began: %+v", c)
	}
}

func TestWhatIsPostponedComesAgain(t *testing.T) {
	m := &memory{wanted: wanted("etl", "unknown", "etl"), submit: accept, postponed: 2}
	if err := loop(m).Round(t.Context()); err != nil || len(m.later) != 1 || m.later[0].Idx != 2 {
		t.Errorf("later %v, %v", m.later, err)
	}
	err := Apply(t.Context(), m, temporary, []Ended{{Key: Key{Idx: 1}}, {Key: Key{Idx: 2}}})
	if !temporary(err) {
		t.Errorf("%v", err)
	}
}

func TestASkippedChildIsNoFailure(t *testing.T) {
	m := &memory{}
	if err := Apply(t.Context(), m, temporary, []Ended{{State: "SKIPPED"}}); err != nil || m.applied[0].Child.State != "COMPLETED" {
		t.Errorf("%+v, %v", m.applied, err)
	}
}

func TestALargeBatchIsParted(t *testing.T) {
	all := wanted("a", "b", "c")
	for i := range all {
		all[i].Params = []byte(strings.Repeat(" ", 5<<20))
	}
	m := &memory{wanted: all, submit: accept}
	if err := loop(m).Round(t.Context()); err != nil || m.calls != 3 || len(m.applied) != 3 {
		t.Errorf("%d calls, %d applied, %v", m.calls, len(m.applied), err)
	}
}

// A child that was never submitted ends by an event: tasks may wait for it.
func TestCancels(t *testing.T) {
	m := &memory{cancels: []Cancel{{Key: Key{Idx: 1}, Submitted: true}, {Key: Key{Idx: 2}}}}
	if err := loop(m).Round(t.Context()); err != nil || len(m.cancelled) != 1 || m.cancelled[0].Idx != 1 {
		t.Errorf("%v, %v", m.cancelled, err)
	}
	if len(m.applied) != 1 || m.applied[0].Kind != execution.ChildEnded || m.applied[0].Idx != 2 || m.applied[0].Child.State != "CANCELLED" || !m.applied[0].Child.Unsubmitted {
		t.Errorf("applied %+v", m.applied)
	}
}

func TestWhatWasNotHeardIsToldAgain(t *testing.T) {
	m := &memory{unheard: []execution.Event{{Kind: execution.Rejoined}}}
	l := loop(m)
	for range 2 {
		if err := l.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.applied) != 1 || len(m.places) != 2 || m.places[1].Idx != 1 {
		t.Errorf("applied %v, looked from %v", m.applied, m.places)
	}
}
