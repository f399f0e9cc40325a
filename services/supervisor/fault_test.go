package supervisor_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

var succeeded = &antv1.Result{Outcome: antv1.Result_SUCCEEDED}

func success() *antv1.Result { return proto.CloneOf(succeeded) }

// expire lets the lease of an attempt end now.
func (w *world) expire(uids ...string) {
	w.t.Helper()
	// Another ant is heard of: else it would rather be supervisor that is deaf. The overlap after the lease's end has passed,
	// too, so that the test need not wait for it.
	if _, err := w.pool.Exec(w.t.Context(), `INSERT INTO ant_session (ant_id, generation, session, synced_at) VALUES ('bystander', 1, gen_random_uuid(), now())
		ON CONFLICT (ant_id) DO UPDATE SET synced_at = now()`); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.pool.Exec(w.t.Context(), `UPDATE attempt SET lease_until = now() - interval '10 seconds' WHERE uid = ANY($1::uuid[])`, uids); err != nil {
		w.t.Fatal(err)
	}
}

// attemptStates are the states of a task's attempts, from the first.
func (w *world) attemptStates(id, name string) []string {
	w.t.Helper()
	var states []string
	if w.execution(id) == nil {
		return nil
	}
	for _, a := range w.tasks(id)[name].GetAttempts() {
		states = append(states, a.GetState().String())
	}
	return states
}

func TestLateAndRepeatedResultsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a", "b"), task("b")))
	first := a.live("a")
	w.expire(first)
	testkit.Eventually(t, 10*time.Second, "another attempt runs", func() bool {
		return slices.Equal(w.attemptStates(id, "a"), []string{"LOST", "RUNNING"})
	})
	a.end(first, success()) // of a dead attempt
	second := a.live("a")
	stranger := success()
	stranger.Uid, stranger.AntId, stranger.Session = second, "ant2", a.session
	w.publish("formicary.result.0", stranger) // of an ant that does not have it
	w.publish("formicary.result.0", &antv1.Result{Uid: uuid.NewString(), AntId: a.id, Session: uuid.NewString(), Outcome: antv1.Result_SUCCEEDED})
	other := w.admit(planOf(task("z")))
	a.end(a.live("z"), success())
	w.becomes(other, executionv1.Execution_COMPLETED) // results are handled in order
	if got := w.tasks(id)["a"].GetState(); got != executionv1.Task_RUNNING {
		t.Fatalf("a late result made task a %s", got)
	}
	a.end(second, success())
	b := a.live("b")
	a.end(second, success())                                                // a replay
	a.end(second, &antv1.Result{Outcome: antv1.Result_FAILED, ExitCode: 1}) // and a contradiction
	a.end(b, success())
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.tasks(id)["a"]; got.GetExitCode() != 0 || got.GetAttempts()[1].GetState() != executionv1.Attempt_SUCCEEDED {
		t.Errorf("task a %v", got)
	}
	w.settled()
}

func TestBadMessagesAreQuarantined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 1, nil)
	for _, subject := range []string{"formicary.result.0", "formicary.event.job.admitted", "formicary.event.job.control"} {
		if _, err := w.js.Publish(t.Context(), subject, []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
	}
	w.becomes(w.admit(planOf(task("a"))), executionv1.Execution_COMPLETED)
	testkit.Eventually(t, 20*time.Second, "all are kept", func() bool {
		var n int
		return w.pool.QueryRow(t.Context(), `SELECT count(*) FROM quarantine`).Scan(&n) == nil && n == 3
	})
	w.settled()
}

func TestUnlaunchableRunEndsAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 1, nil)
	bad := w.jobs.add(planOf(task("a")), func(l *jobv1.Launch) { l.Vars = []byte("{") }) // PostgreSQL refuses it, and its batch
	w.admitRun(bad, 1)
	for range 3 {
		w.becomes(w.admit(planOf(task("a"))), executionv1.Execution_COMPLETED)
	}
	if e := w.becomes(bad, executionv1.Execution_FAILED); e.GetErrorCode() != "ERR_JOB_LAUNCH" {
		t.Errorf("error %s: %s", e.GetErrorCode(), e.GetErrorMessage())
	}
	w.settled()
}

func TestLostAttemptsAreReplacedWithinTheirBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(*antv1.Work) *antv1.Result { return nil })
	only := w.admit(planOf(plan.Task{Name: "once", AtMostOnce: true}))
	w.expire(a.live("once"))
	w.becomes(only, executionv1.Execution_FAILED)
	if got := w.tasks(only)["once"]; len(got.GetAttempts()) != 1 || got.GetFailureClass() != "infra" {
		t.Errorf("at_most_once: %v", got)
	}
	id := w.admit(planOf(task("a")))
	for n := range 4 {
		testkit.Eventually(t, 10*time.Second, "the next attempt runs", func() bool {
			s := w.attemptStates(id, "a")
			return len(s) == n+1 && s[n] == "RUNNING"
		})
		tried := w.tasks(id)["a"].GetAttempts()
		w.expire(tried[n].GetUid())
	}
	e := w.becomes(id, executionv1.Execution_FAILED)
	if got := w.tasks(id)["a"]; got.GetFailureClass() != "infra" {
		t.Errorf("task %v, error %s", got, e.GetErrorMessage())
	}
	w.settled()
}

func TestRestartedAntAdoptsWhatItHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		if work.GetAttempt() > 1 {
			return success()
		}
		return nil
	})
	id := w.admit(planOf(task("alive"), task("spooled"), task("gone")))
	alive, spooled, gone := a.live("alive"), a.live("spooled"), a.live("gone")
	a.sync(true)
	old := a.session
	a.mu.Lock()
	delete(a.running, spooled)
	delete(a.running, gone)
	a.session, a.generation = uuid.NewString(), 2
	a.mu.Unlock()
	w.slots.set(a.id, a.session, 8)
	res := a.sync(true, spooled, uuid.NewString())
	for id, want := range map[string]string{a.id: "", "ant2": "STALE_ATTEMPT"} {
		_, err := w.attempts.CreateLogUpload(t.Context(), &antv1.CreateLogUploadRequest{AntId: id, Session: old, Uid: spooled})
		if errs.Reason(err) != want {
			t.Errorf("%s, in its old session, asks where the log goes: %v", id, err)
		}
	}
	if len(res.GetStop()) != 0 || len(res.GetSettled()) != 1 {
		t.Errorf("stop %v, settled %v; want nothing to stop and the unknown one settled", res.GetStop(), res.GetSettled())
	}
	testkit.Eventually(t, 10*time.Second, "the lost one is replaced", func() bool {
		return slices.Equal(w.attemptStates(id, "gone"), []string{"LOST", "SUCCEEDED"})
	})
	w.publish("formicary.result.0", &antv1.Result{Uid: spooled, AntId: "ant2", Session: old, Outcome: antv1.Result_FAILED})
	late := success()
	late.Uid, late.AntId, late.Session = spooled, a.id, old // the spool was written by the old session
	w.publish("formicary.result.0", late)
	w.taskBecomes(id, "spooled", executionv1.Task_COMPLETED)
	if got := a.sync(false, spooled).GetSettled(); !slices.Equal(got, []string{spooled}) {
		t.Errorf("settled %v", got)
	}
	a.end(alive, success())
	w.becomes(id, executionv1.Execution_COMPLETED)
	a.session, a.generation = old, 1
	if _, err := a.trySync(false); errs.Reason(err) != "SESSION_SUPERSEDED" {
		t.Errorf("the old session got %v", err)
	}
	w.settled()
}

// TestAnEndedAttemptDoesNotTimeOut: what its ant has in the spool has ended, however long its result takes to arrive.
func TestAnEndedAttemptDoesNotTimeOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a")))
	uid := a.live("a")
	if _, err := w.pool.Exec(t.Context(), `UPDATE attempt SET timeout_at = now() + interval '1 hour' WHERE uid = $1`, uid); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	delete(a.running, uid)
	a.mu.Unlock()
	a.sync(false, uid)
	var late bool
	if err := w.pool.QueryRow(t.Context(), `SELECT timeout_at IS NOT NULL FROM attempt WHERE uid = $1`, uid).Scan(&late); err != nil {
		t.Fatal(err)
	}
	if late {
		t.Error("its timeout still counts")
	}
	r := success()
	r.Uid, r.AntId, r.Session = uid, a.id, a.session
	w.publish("formicary.result.0", r)
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}

// TestAClaimWithoutAnAnswerIsNotLost: while job-manager is away an ant asks again and again for attempts that it has
// claimed and cannot report.
func TestAClaimWithoutAnAnswerIsNotLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.jobs.mu.Lock()
	w.jobs.gone = errs.Unavailable("AWAY", "job-manager is away")
	w.jobs.yaml = "job_type: job\ntasks:\n- task_type: a\n  method: SHELL\n  script: [true]\n"
	w.jobs.mu.Unlock()
	a := w.newAnt("ant1", 8, nil)
	late := task("a")
	late.Late = true
	id := w.admit(planOf(late))
	missed := func(want int) func() bool {
		return func() bool {
			var n int
			err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM attempt WHERE state = 'RUNNING' AND missed = $1`, want).Scan(&n)
			return err == nil && n == 1
		}
	}
	testkit.Eventually(t, 10*time.Second, "it is claimed", missed(0))
	if _, err := w.pool.Exec(t.Context(), `UPDATE attempt SET started_at = started_at - interval '5 seconds'`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a.sync(false)
		testkit.Eventually(t, 10*time.Second, "it is asked for again", missed(0))
	}
	w.jobs.mu.Lock()
	w.jobs.gone = nil
	w.jobs.mu.Unlock()
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.attemptStates(id, "a"); !slices.Equal(got, []string{"SUCCEEDED"}) {
		t.Errorf("attempts %v", got)
	}
	w.settled()
}

// TestATaskWithoutItsDefinitionFails: nobody brings a definition back that is gone.
func TestATaskWithoutItsDefinitionFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.jobs.gone = errs.NotFound("DEFINITION_NOT_FOUND", "no such definition")
	w.newAnt("ant1", 8, nil)
	late := task("a")
	late.Late = true
	id := w.admit(planOf(late))
	w.becomes(id, executionv1.Execution_FAILED)
	if got := w.tasks(id)["a"]; got.GetFailureClass() != "rejected" {
		t.Errorf("task %v", got)
	}
	w.settled()
}

func TestUnlistedAttemptIsLostAfterTwoSyncs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		if work.GetAttempt() > 1 {
			return success()
		}
		return nil
	})
	id := w.admit(planOf(task("a")))
	uid := a.live("a")
	a.sync(false)
	if _, err := w.pool.Exec(t.Context(), `UPDATE attempt SET started_at = started_at - interval '5 seconds' WHERE uid = $1`, uid); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	work := a.running[uid]
	delete(a.running, uid)
	a.mu.Unlock()
	a.sync(false) // written before the claim, perhaps
	a.mu.Lock()
	a.running[uid] = work
	a.mu.Unlock()
	a.sync(false)
	if got := w.attemptStates(id, "a"); !slices.Equal(got, []string{"RUNNING"}) {
		t.Fatalf("attempts %v", got)
	}
	a.mu.Lock()
	delete(a.running, uid)
	a.mu.Unlock()
	a.sync(false)
	a.sync(false)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.attemptStates(id, "a"); !slices.Equal(got, []string{"LOST", "SUCCEEDED"}) {
		t.Errorf("attempts %v", got)
	}
	w.settled()
}

// TestAnAntThatWasForgottenSyncsAgain: resource-manager has removed its row, here its last generation is still known, be
// it one of an older version that counted from one.
func TestAnAntThatWasForgottenSyncsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
	a.generation = 9
	id := w.admit(planOf(task("a")))
	a.live("a")
	a.sync(true)
	for range 2 {
		a.session, a.generation = uuid.NewString(), time.Now().UnixMicro()
		w.slots.set(a.id, a.session, 1)
		if got := a.sync(true).GetStop(); len(got) != 0 {
			t.Errorf("its attempt is to stop: %v", got)
		}
	}
	a.end(a.live("a"), success())
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}

// Calls of ants that come together are one transaction: an id that the database takes offence at must not get that far.
func TestIDsThatNoAntHasAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const bad = "a\x00"
	session, uid := uuid.NewString(), uuid.NewString()
	_, claim := w.attempts.Claim(t.Context(), &antv1.ClaimRequest{AntId: bad, Session: session, Uids: []string{uid}})
	_, sync := w.attempts.Sync(t.Context(), &antv1.SyncRequest{AntId: bad, Session: session, Generation: 1})
	_, upload := w.attempts.CreateLogUpload(t.Context(), &antv1.CreateLogUploadRequest{AntId: bad, Session: session, Uid: uid, Size: 1})
	for call, err := range map[string]error{"claim": claim, "sync": sync, "upload": upload} {
		if errs.CodeOf(err) != errs.CodeInvalid {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestStaleSessionsGetNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a/b c")))
	uid := a.live("a/b c")
	claim := func(ant, session string) *antv1.Work {
		res, err := w.attempts.Claim(t.Context(), &antv1.ClaimRequest{AntId: ant, Session: session, Uids: []string{uid}})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetWorks()[0]
	}
	if again := claim(a.id, a.session); again.GetRefused() != "" || again.GetTask() != "a/b c" {
		t.Errorf("the same claim again: %v", again)
	}
	if claim("ant2", a.session).GetRefused() == "" || claim(a.id, uuid.NewString()).GetRefused() == "" {
		t.Error("somebody else got the work")
	}
	upload := func(ant string) (*antv1.CreateLogUploadResponse, error) {
		return w.attempts.CreateLogUpload(t.Context(), &antv1.CreateLogUploadRequest{AntId: ant, Session: a.session, Uid: uid, Size: 1})
	}
	res, err := upload(a.id)
	if want := fmt.Sprintf("logs/default/%s/1/a%%2Fb%%20c/%s.log", id, uid); err != nil || res.GetKey() != want || res.GetUrl() == "" {
		t.Errorf("upload to %q: %v, want %q", res.GetKey(), err, want)
	}
	if _, err := upload("ant2"); errs.Reason(err) != "STALE_ATTEMPT" {
		t.Errorf("another ant got %v", err)
	}
	a.end(uid, success())
	w.becomes(id, executionv1.Execution_COMPLETED)
	if _, err := upload(a.id); errs.Reason(err) != "STALE_ATTEMPT" {
		t.Errorf("an ended attempt got %v", err)
	}
	live, err := w.states.CheckAttempts(t.Context(), &executionv1.CheckAttemptsRequest{Uids: []string{uid, uuid.NewString(), "nonsense"}})
	if err != nil || len(live.GetLive()) != 0 {
		t.Errorf("live %v, %v", live.GetLive(), err)
	}
	states, err := w.states.GetExecutionStates(t.Context(), &executionv1.GetExecutionStatesRequest{Runs: []*executionv1.RunKey{
		{RequestId: id, Run: 1}, {RequestId: id, Run: 2},
	}})
	if err != nil || len(states.GetStates()) != 1 || states.GetStates()[0].GetState() != executionv1.Execution_COMPLETED {
		t.Errorf("states %v, %v", states.GetStates(), err)
	}
	w.settled()
}

// TestBusWiped loses everything in the bus while jobs wait, run and end.
func TestBusWiped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.slots.set("ant1", uuid.NewString(), 20)
	var ids []string
	for range 20 {
		ids = append(ids, w.admit(planOf(task("a", "b"), task("b"))))
	}
	for _, id := range ids {
		w.becomes(id, executionv1.Execution_EXECUTING) // rung for, and nobody has come
	}
	for _, stream := range []string{bus.Tasks, bus.Results, bus.Events} {
		if err := w.js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Provision(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	w.slots.mu.Lock()
	session := w.slots.ants["ant1"].session
	w.slots.mu.Unlock()
	a := w.newAnt("ant1", 20, nil)
	a.session = session
	w.slots.set("ant1", session, 20)
	for _, id := range ids {
		w.becomes(id, executionv1.Execution_COMPLETED)
	}
	w.settled()
}

func TestUnclaimedAttemptIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.slots.set("deaf", uuid.NewString(), 1)
	id := w.admit(planOf(task("a")))
	uid := w.taskBecomes(id, "a", executionv1.Task_DISPATCHED).GetAttempts()[0].GetUid()
	w.slots.set("deaf", uuid.NewString(), 0)
	w.newAnt("ant1", 1, nil)
	if _, err := w.pool.Exec(t.Context(), `UPDATE attempt SET dispatched_at = dispatched_at - interval '1 minute' WHERE uid = $1`, uid); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.attemptStates(id, "a"); !slices.Equal(got, []string{"LOST", "SUCCEEDED"}) {
		t.Errorf("attempts %v", got)
	}
	w.settled()
	w.slots.mu.Lock()
	defer w.slots.mu.Unlock()
	if got := w.slots.unclaimed; !slices.Equal(got, []string{uid}) {
		t.Errorf("released as unclaimed: %v, want %s alone", got, uid)
	}
}

func TestLateReservationIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 1, nil)
	w.slots.mu.Lock()
	w.slots.late = true
	w.slots.mu.Unlock()
	id := w.admit(planOf(task("a")))
	testkit.Eventually(t, 10*time.Second, "it was tried", func() bool {
		w.slots.mu.Lock()
		defer w.slots.mu.Unlock()
		return w.slots.calls > 1
	})
	if e := w.execution(id); e != nil {
		t.Errorf("launched: %v", e)
	}
	w.slots.mu.Lock()
	w.slots.late = false
	w.slots.mu.Unlock()
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}

// TestReplicasShareTheWork runs several supervisors on one database.
func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 2 {
		w.replica(fmt.Sprintf("replica%d", i))
	}
	var calls atomic.Int32
	for i := range 3 {
		w.newAnt(fmt.Sprintf("ant%d", i), 5, func(work *antv1.Work) *antv1.Result {
			if n := calls.Add(1); n%7 == 0 {
				return failed(3)
			}
			return success()
		})
	}
	var ids []string
	for range 60 {
		ids = append(ids, w.admit(planOf(
			plan.Task{Name: "a", Retry: 5, Routes: []plan.Route{{Key: "COMPLETED", Targets: []string{"b", "c"}}}},
			plan.Task{Name: "b", Retry: 5, Routes: []plan.Route{{Key: "COMPLETED", Targets: []string{"d"}}}},
			plan.Task{Name: "c", AllowFailure: true, Routes: []plan.Route{{Key: "COMPLETED", Targets: []string{"d"}}}},
			plan.Task{Name: "d", Retry: 5}, plan.Task{Name: "clean", AlwaysRun: true, AllowFailure: true})))
	}
	for i, id := range ids {
		if i%10 == 9 {
			w.control(id, jobv1.RequestControl_CANCEL)
		}
	}
	testkit.Eventually(t, 50*time.Second, "all jobs have ended", func() bool {
		var open int
		err := w.pool.QueryRow(t.Context(), `SELECT $1 - count(*) FROM execution WHERE ended_at IS NOT NULL`, len(ids)).Scan(&open)
		return err == nil && open == 0
	})
	for i, id := range ids {
		if s := w.execution(id).GetState(); s != executionv1.Execution_COMPLETED && i%10 != 9 {
			t.Errorf("request %d is %s", i, s)
		}
	}
	w.settled()
}

func TestLargeJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 1500 // several batches of everything
	w.newAnt("ant1", 100, nil)
	tasks := make([]plan.Task, n)
	for i := range tasks {
		tasks[i] = task(fmt.Sprintf("task%d", i), "join")
	}
	id := w.jobs.add(planOf(append(tasks, task("join"))...))
	began := time.Now()
	w.admitRun(id, 1)
	testkit.Eventually(t, 30*time.Second, "the launch", func() bool { return w.execution(id) != nil })
	launched := time.Since(began)
	testkit.Eventually(t, 100*time.Second, "the end", func() bool { return w.execution(id).GetState() == executionv1.Execution_COMPLETED })
	w.settled()
	w.slots.mu.Lock()
	defer w.slots.mu.Unlock()
	t.Logf("%d tasks: launched in %s, done in %s, %d questions for places", n, launched, time.Since(began), w.slots.asked)
}

func BenchmarkJobs(b *testing.B) {
	for _, width := range []int{1, 200} {
		b.Run(fmt.Sprintf("in_flight=%d", width), func(b *testing.B) {
			w := newWorld(b)
			w.newAnt("ant1", 2*width, nil)
			p := planOf(task("a"))
			warm := w.admit(p)
			w.becomes(warm, executionv1.Execution_COMPLETED)
			done := make(chan string, 10*width)
			sub := w.onEnd(func(id string) { done <- id })
			defer sub()
			b.ResetTimer()
			for sent, ended := 0, 0; ended < b.N; ended++ {
				for sent < b.N && sent-ended < width {
					w.admit(p)
					sent++
				}
				<-done
			}
			b.StopTimer()
			w.settled()
		})
	}
}

func BenchmarkChain(b *testing.B) {
	w := newWorld(b)
	w.newAnt("ant1", 4, nil)
	done := make(chan string, 1)
	sub := w.onEnd(func(id string) { done <- id })
	defer sub()
	const hops = 50
	tasks := make([]plan.Task, hops)
	for i := range tasks {
		tasks[i] = task(fmt.Sprintf("t%d", i))
		if i < hops-1 {
			tasks[i] = task(fmt.Sprintf("t%d", i), fmt.Sprintf("t%d", i+1))
		}
	}
	p := planOf(tasks...)
	b.ResetTimer()
	for range b.N {
		w.admit(p)
		<-done
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*hops), "us/hop")
	b.StopTimer()
	w.settled()
}
