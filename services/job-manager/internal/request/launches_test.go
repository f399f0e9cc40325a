package request_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// shelf is a store with requests to launch, whose counts do what the job type that is counted says.
type shelf struct {
	request.Store
	recs     []request.Record
	refuses  uuid.UUID // the launch that cannot be remembered
	launched int
}

var (
	errAway    = errors.New("connection lost")
	errRefused = errors.New("invalid text")
)

func (s *shelf) ToLaunch(_ context.Context, ids []uuid.UUID) (recs []request.Record, changes request.Changes, err error) {
	for _, rec := range s.recs {
		if slices.Contains(ids, rec.ID) {
			recs = append(recs, rec)
		}
	}
	return recs, request.Changes{}, nil
}

func (s *shelf) Launched(_ context.Context, all []request.Launch) error {
	for i := range all {
		if all[i].Record.ID == s.refuses {
			return errRefused
		}
	}
	s.launched += len(all)
	return nil
}

func (s *shelf) Count(ctx context.Context, _, jobType string, _ []request.State) (int, error) {
	switch jobType {
	case "panics":
		panic("index out of range")
	case "away":
		return 0, errAway
	case "slow": // for ever
		<-ctx.Done()
		return 0, ctx.Err()
	case "long", "longer":
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
		return 1, ctx.Err()
	}
	return 1, nil
}

// books has a definition for every kind of count.
type books struct{ definition.Store }

func (books) Find(_ context.Context, ref definition.Ref) (definition.Definition, error) {
	kind := kindOf(ref.ID)
	if kind == "large" {
		text := "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script:\n      - \"echo" + strings.Repeat(" {{.big}}", 4) + "\"\n"
		return definition.Definition{ID: ref.ID, OrgID: "o", JobType: "j", YAML: text}, nil
	}
	times := 1
	if kind == "longer" {
		times = 6
	}
	counts := strings.Repeat("{{ CountByJobTypeAndState \""+kind+"\" }}", times)
	text := "job_type: j\nwebhook:\n  url: https://example.org\ntasks:\n  - task_type: a\n    method: SHELL\n    script:\n      - \"echo " + counts + "\"\n"
	return definition.Definition{ID: ref.ID, OrgID: "o", JobType: "j", YAML: text}, nil
}

// Encoded implements request.Rules: there are none.
func (s *shelf) Encoded(context.Context, int64, string, string) ([]byte, error) { return nil, nil }

// kindOf is what the definition of an id counts.
func kindOf(id uuid.UUID) string { return strings.TrimRight(string(id[:]), "\x00") }

// add makes requests whose launch counts a kind.
func (s *shelf) add(kind string, n int) (runs []request.Run) {
	var def uuid.UUID
	copy(def[:], kind)
	for range n {
		rec := request.Record{ID: uuid.New(), OrgID: "o", JobType: "j", DefinitionID: def, State: request.Ready, Run: 1, Params: []byte("{}")}
		s.recs = append(s.recs, rec)
		runs = append(runs, request.Run{ID: rec.ID, Run: 1})
	}
	return runs
}

func (s *shelf) manager(t *testing.T) *request.Manager {
	return request.NewManager(s, definition.NewManager(books{}, 10), s, request.Options{
		Batch: 1, Flushers: 1, Launches: request.DefaultLaunchTimes(), Log: testkit.Logger(t),
		Refused: func(err error) bool { return errors.Is(err, errRefused) },
	})
}

// launch asks for runs and returns the answers by request.
func launch(t *testing.T, m *request.Manager, patient bool, runs ...request.Run) map[uuid.UUID]request.Launch {
	t.Helper()
	all, err := m.Launches(t.Context(), runs, patient)
	if err != nil {
		t.Fatal(err)
	}
	by := map[uuid.UUID]request.Launch{}
	for i := range all {
		by[all[i].Record.ID] = all[i]
	}
	return by
}

// TestSlowLaunchesHoldUpNobody: a call takes a bounded time whatever is in it, plain runs come first, and what is known to
// be slow comes last.
func TestSlowLaunchesHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		slow := s.add("slow", 40)
		plain := s.add("plain", 3)
		m := s.manager(t)
		for call := range 2 {
			began := time.Now()
			got := launch(t, m, false, append(slow, plain...)...)
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("call %d took %s", call, took)
			}
			for _, r := range plain {
				if l := got[r.ID]; l.Fault != request.NoFault || len(l.Plan) == 0 {
					t.Errorf("call %d: the plain one has fault %d: %s", call, l.Fault, l.Reason)
				}
			}
			reached := 0
			for _, r := range slow {
				switch l := got[r.ID]; l.Fault {
				case request.Slow:
					reached++
				case request.NotReached:
				default:
					t.Errorf("a slow one has fault %d: %s", l.Fault, l.Reason)
				}
			}
			if reached == 0 {
				t.Error("no slow one was tried: they would never be")
			}
		}
	})
}

// TestSlowAnswersAreNobodysFault: a template that asks for too much is at fault, one whose only question is not answered in
// time is not.
func TestSlowAnswersAreNobodysFault(t *testing.T) {
	for kind, want := range map[string]request.Launch{
		"longer": {Fault: request.Broken, Reason: "its template takes longer than 10s"},
		"slow":   {Fault: request.Away, Reason: "what it asks for is away"},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{}
				r := s.add(kind, 1)[0]
				if l := launch(t, s.manager(t), true, r)[r.ID]; l.Fault != want.Fault || l.Reason != want.Reason {
					t.Errorf("fault %d: %q", l.Fault, l.Reason)
				}
			})
		})
	}
}

// TestALongLaunchSucceedsAlone: it takes longer than one may beside others.
func TestALongLaunchSucceedsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		r := s.add("long", 1)[0]
		m := s.manager(t)
		if l := launch(t, m, false, r)[r.ID]; l.Fault != request.Slow {
			t.Errorf("fault %d: %s", l.Fault, l.Reason)
		}
		if l := launch(t, m, true, r)[r.ID]; l.Fault != request.NoFault || len(l.Plan) == 0 {
			t.Errorf("fault %d: %s", l.Fault, l.Reason)
		}
	})
}

// TestEachLaunchHasItsOwnAnswer: a panic, what is away and what cannot be remembered are told of their run only.
func TestEachLaunchHasItsOwnAnswer(t *testing.T) {
	s := &shelf{}
	panics, away, refused, plain := s.add("panics", 1)[0], s.add("away", 1)[0], s.add("refused", 1)[0], s.add("plain", 2)
	s.refuses = refused.ID
	got := launch(t, s.manager(t), false, append(plain, panics, away, refused)...)
	for id, want := range map[uuid.UUID]request.Fault{
		panics.ID: request.Broken, away.ID: request.Away, refused.ID: request.Broken, plain[0].ID: request.NoFault, plain[1].ID: request.NoFault,
	} {
		if l := got[id]; l.Fault != want || (want == request.NoFault) != (len(l.Plan) > 0) || (want == request.NoFault) != (l.Reason == "") {
			t.Errorf("%s: fault %d (%s), want %d", kindOf(l.Record.DefinitionID), l.Fault, l.Reason, want)
		}
	}
	if !strings.Contains(got[panics.ID].Reason, "index out of range") || s.launched != 2 {
		t.Errorf("%q, %d launches are remembered", got[panics.ID].Reason, s.launched)
	}
}

// A retry that has not started in time is not begun: its launch answers with what kept it.
func TestALapsedLaunchAnswersWithItsError(t *testing.T) {
	s := &shelf{}
	run := s.add("plain", 1)[0]
	s.recs[0].ErrorCode, s.recs[0].ErrorMessage = "ERR_JOB_TIMEOUT", "it did not start within 1m: no slot"
	if l := launch(t, s.manager(t), false, run)[run.ID]; l.ErrorCode != "ERR_JOB_TIMEOUT" || l.ErrorMessage == "" || l.Plan != nil || l.Fault != request.NoFault {
		t.Errorf("%+v", l)
	}
}

// What is too much for one message comes in several, and what is too much for any fails: it must not keep the runs that
// are asked for beside it from being launched.
func TestLargeLaunchesFitIntoMessages(t *testing.T) {
	s := &shelf{}
	runs := s.add("large", 4)
	for i := range s.recs {
		n := 600 << 10
		if i == 3 {
			n = 900 << 10
		}
		s.recs[i].Params = []byte(`{"big":"` + strings.Repeat("<", n) + `"}`) // each has six bytes in JSON
	}
	runs = append(runs, s.add("quick", 1)...)
	m := s.manager(t)
	for calls := 1; len(runs) > 0; calls++ {
		size, done := 0, 0
		for id, l := range launch(t, m, false, runs...) {
			size += len(l.Plan) + len(l.Vars)
			if l.Fault == request.NotReached {
				continue
			}
			done++
			runs = slices.DeleteFunc(runs, func(r request.Run) bool { return r.ID == id })
			if large := id == s.recs[3].ID; l.Fault != request.NoFault || large != (l.ErrorCode != "") || large != (l.Plan == nil) {
				t.Errorf("%d bytes, fault %d %s, %s %s", len(l.Plan), l.Fault, l.Reason, l.ErrorCode, l.ErrorMessage)
			}
		}
		if size > 32<<20-1<<20 || done == 0 || calls > 5 {
			t.Fatalf("call %d answers for %d runs with %d bytes", calls, done, size)
		}
	}
}
