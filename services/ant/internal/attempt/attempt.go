package attempt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

// defaultGrace is given when the work names none.
const defaultGrace = 10 * time.Second

// stopped is why the ant ended an attempt.
type stopped struct {
	outcome antv1.Result_Outcome
	class   string
	message string
}

var cancelled = stopped{antv1.Result_CANCELLED, "cancelled", "cancelled"} //nolint:gochecknoglobals // a constant

func timedOut(after time.Duration) stopped {
	return stopped{antv1.Result_TIMED_OUT, "timeout", fmt.Sprintf("timed out after %s", after)}
}

func lost(why string) stopped {
	return stopped{antv1.Result_LOST, string(executor.Infra), why}
}

// attempt is one on its way.
type attempt struct {
	m     *Manager
	uid   string
	work  *antv1.Work
	masks *mask.Masker
	log   *tasklog.Log
	began time.Time
	// artifacts are stored and will be named in the result.
	artifacts []*antv1.StoredArtifact
	moved     moved
	cache     *cached // nil: it asks for none

	mu     sync.Mutex
	x      executor.Execution
	ran    time.Duration
	halt   context.CancelCauseFunc // ends what moves files
	reason *stopped
	now    bool // stop without grace
	done   bool // its outcome is known, whatever is still moved for it
	ended  bool
}

func (m *Manager) newAttempt(w *antv1.Work) *attempt {
	a := &attempt{m: m, uid: w.GetUid(), work: w, masks: mask.New(w.GetMasks()), began: time.Now().Add(-w.GetAge().AsDuration())}
	a.log = tasklog.New(tasklog.Options{
		Path: filepath.Join(m.opts.LogDir, a.uid), Limit: m.logLimit(w), Masks: a.masks,
		Live:  func(c tasklog.Chunk) { m.show(liveChunk{uid: a.uid, chunk: c, format: a.logFormat()}) },
		Plain: a.logFormat() != antv1.LogFormat_LOG_FORMAT_RECORDS, Head: w.GetSpec().GetReportStdout(),
	})
	return a
}

// defaultLogLimit is for tasks that name none.
const defaultLogLimit = 64 << 20

func (m *Manager) logLimit(w *antv1.Work) int64 {
	limit := w.GetSpec().GetLogLimit()
	if limit <= 0 {
		limit = defaultLogLimit
	}
	return min(limit, m.opts.LogLimit)
}

// logFormat is records, unless supervisor does not read them.
func (a *attempt) logFormat() antv1.LogFormat {
	return min(a.work.GetLogFormat(), antv1.LogFormat_LOG_FORMAT_RECORDS)
}

func (a *attempt) grace() time.Duration {
	if a.work.GetGrace() == nil {
		return defaultGrace
	}
	return a.work.GetGrace().AsDuration()
}

// stop ends the attempt for a reason; the first reason counts. Without grace it is killed even if it is stopping.
func (a *attempt) stop(why stopped, grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	if a.done {
		if a.halt != nil {
			a.halt(errors.New(why.message))
		}
		return
	}
	if a.reason == nil {
		a.reason = &why
	}
	a.now = a.now || grace <= 0
	if a.x != nil {
		a.x.Stop(grace)
	}
	if a.halt != nil {
		a.halt(errors.New(a.reason.message))
	}
}

// run takes the attempt to its result, whatever happens on the way.
func (a *attempt) run() {
	defer a.m.all.Done()
	defer a.m.remove(a.uid)
	var end executor.End
	if err := a.safely("execute", func() { end = a.execute() }); err != nil {
		end = executor.Break("the ant could not execute the task: see its log")
	}
	a.mu.Lock()
	a.ended = true
	why, killed := a.reason, a.now
	a.mu.Unlock()
	a.log.Finish()
	_ = a.safely("report", func() { a.report(end, why, killed) })
	_ = a.safely("clean up", func() {
		if a.x != nil {
			a.x.Close()
		}
		a.log.Remove()
	})
}

// safely keeps a fault of one attempt from ending the ant.
func (a *attempt) safely(what string, f func()) error {
	err := run.Safely(a.m.life, func(context.Context) error {
		f()
		return nil
	})
	if err != nil {
		a.m.deps.Log.Error("attempt failed in the ant", "attempt", a.uid, "step", what, "error", a.masks.String(err.Error()))
	}
	return err
}

// execute runs the task and waits for its end.
func (a *attempt) execute() executor.End {
	spec := a.work.GetSpec()
	e := a.m.methods[spec.GetMethod()]
	if e == nil {
		return executor.Refuse(fmt.Sprintf("this ant does not execute method %q", spec.GetMethod()))
	}
	x, adopted := a.execution(e)
	a.log.At(a.began) // a later life of the ant, which adopts it, says the same
	for _, note := range spec.GetNotes() {
		a.log.Note("formicary: " + note)
	}
	a.log.At(time.Time{})
	a.mu.Lock()
	a.x = x
	if a.reason != nil {
		x.Stop(0)
	}
	a.mu.Unlock()
	if d := a.work.GetTimeout(); d != nil {
		timer := time.AfterFunc(d.AsDuration()-a.age(adopted), func() { a.stop(timedOut(d.AsDuration()), a.grace()) })
		defer timer.Stop()
	}
	if !adopted && x.Create() != nil {
		return x.Wait()
	}
	if end := a.unpack(x, adopted); end != nil {
		x.Stop(0) // so that nothing starts
		_ = x.Start()
		_ = x.Wait()
		return *end
	}
	if !adopted {
		a.restore(x)
	}
	if trace := x.Start(); trace != "" {
		if err := a.m.deps.Spool.Started(a.uid, a.began, trace); err != nil {
			a.m.deps.Log.Error("a restarted ant may not find the attempt", "attempt", a.uid, "error", err)
		}
	}
	began := time.Now()
	if adopted {
		began = a.began
	}
	end := x.Wait()
	a.ran = time.Since(began)
	end = a.keep(x, end)
	a.tellSaved(end)
	if a.decided() {
		a.save(x, end, adopted)
	}
	return end
}

// decided says that nobody has stopped the attempt; from now on nobody does.
func (a *attempt) decided() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = a.reason == nil
	return a.done
}

// age is how much of its timeout the attempt has had when it begins here. Supervisor knows when it was claimed first.
func (a *attempt) age(adopted bool) time.Duration {
	age := a.work.GetAge().AsDuration()
	if age == 0 && adopted {
		age = time.Since(a.began)
	}
	return max(age, 0)
}

// stored is the size of the log's object.
func stored(res *antv1.Result) int64 {
	if n := res.GetLogStoredBytes(); n > 0 {
		return n
	}
	return res.GetLogBytes()
}

// execution of the attempt: a new one, or one that an earlier life of the ant has begun.
func (a *attempt) execution(e executor.Executor) (x executor.Execution, adopted bool) {
	task := toTask(a.work)
	task.Masks = a.masks
	if f, ok := a.m.takeFound(a.uid); ok {
		a.m.deps.Log.Info("an attempt of an earlier life of this ant goes on", "attempt", a.uid)
		if !f.Began.IsZero() {
			a.began = f.Began
		}
		return f.By.Adopt(task, a.log), true
	}
	return e.Prepare(task, a.log), false
}

// report stores the log, spools the result and publishes it.
func (a *attempt) report(end executor.End, why *stopped, killed bool) {
	if why != nil && a.m.disowned() {
		return // another ant may have it
	}
	res := a.result(end, why)
	if fenced := killed && res.GetOutcome() == antv1.Result_LOST; a.log.Size() > 0 && !fenced { // what is fenced does not wait
		began := time.Now()
		a.upload(a.m.life, res)
		res.Usage.UploadMillis += time.Since(began).Milliseconds()
		res.Usage.BytesOut += stored(res)
	}
	res.Session = a.m.current()
	data, err := proto.Marshal(res)
	if err != nil {
		a.m.deps.Log.Error("result cannot be encoded", "attempt", a.uid, "error", err)
		return
	}
	if err := a.m.deps.Spool.Ended(a.uid, data, time.Now(), a.m.opts.ResendAfter); err != nil {
		a.m.deps.Log.Error("result cannot be spooled", "attempt", a.uid, "error", err)
	}
	a.m.publish(a.uid, data)
	outcome := strings.ToLower(res.GetOutcome().String())
	a.m.metrics.ended(a.m.life, a.work.GetSpec().GetMethod(), outcome, time.Since(a.began))
}
