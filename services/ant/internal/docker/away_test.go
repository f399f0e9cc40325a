package docker

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// cable leads to an engine once it is plugged in, until it is cut: then connections stay, and nothing comes any more.
type cable struct {
	host, engine string
	cut          chan struct{}
	once         sync.Once
	mu           sync.Mutex
	lines        []net.Conn
	asked        strings.Builder // what was sent to the engine
	last         string          // the request after which it hangs
}

func (c *cable) hang() { c.once.Do(func() { close(c.cut) }) }

// sever ends the connections that there are.
func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines {
		_ = line.Close()
	}
	c.lines = nil
}

// heard reports whether something was asked of the engine.
func (c *cable) heard(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.asked.String(), what)
}

func newCable(t *testing.T, host string) *cable {
	t.Helper()
	c := unplugged(t, host)
	c.plug(t)
	return c
}

// unplugged returns a cable at which nothing answers.
func unplugged(t *testing.T, host string) *cable {
	t.Helper()
	if !strings.HasPrefix(host, "unix://") {
		testkit.Missing(t, "an engine on this machine")
	}
	return &cable{host: "unix://" + filepath.Join(t.TempDir(), "s"), engine: strings.TrimPrefix(host, "unix://"), cut: make(chan struct{})}
}

func (c *cable) plug(t *testing.T) {
	t.Helper()
	lis, err := net.Listen("unix", strings.TrimPrefix(c.host, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended); _ = lis.Close(); all.Wait() })
	carry := func(to, from net.Conn, listen bool) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			select {
			case <-c.cut:
				<-ended
			default:
			}
			if err != nil {
				_ = to.Close()
				return
			}
			if listen {
				c.mu.Lock()
				c.asked.Write(buf[:n])
				last := c.last != "" && strings.Contains(c.asked.String(), c.last)
				c.mu.Unlock()
				if last {
					c.hang()
				}
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			near, err := lis.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", c.engine)
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			c.lines = append(c.lines, near, far)
			c.mu.Unlock()
			all.Go(func() { carry(far, near, true) })
			all.Go(func() { carry(near, far, false) })
			all.Go(func() { <-ended; _ = near.Close(); _ = far.Close() })
		}
	})
}

// impatient returns an executor that loses what it hears nothing of for a second.
func impatient(t *testing.T, host, dir string) *Executor {
	t.Helper()
	conf := DefaultConfig()
	conf.Host = host
	e, err := New(Options{Config: conf, Ant: "test", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	e.patience = time.Second
	if err := e.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return e
}

// An engine that hangs in the middle of a task makes it lost, whether it is stopped or not; nothing waits for ever, and what is left
// is removed as soon as the engine answers again.
func TestEngineThatHangs(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	c := newCable(t, engine.Host)
	dir := t.TempDir()
	e := impatient(t, c.host, dir)
	testkit.Run(t, e.Run)
	outs := []*saying{{word: "ready\n", said: make(chan struct{})}, {word: "ready\n", said: make(chan struct{})}}
	var xs []executor.Execution
	for _, out := range outs {
		x := e.Prepare(in(t, executor.Task{UID: unique("hangs"), Script: []string{"echo ready; sleep 1000"}}, plan.Options{}), out)
		if err := x.Create(); err != nil {
			t.Fatal(err)
		}
		x.Start()
		<-out.said
		xs = append(xs, x)
	}
	e.call = time.Second
	c.hang()
	asking, cancel := context.WithTimeout(t.Context(), time.Second)
	if _, err := e.List(asking); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("what runs in an engine that hangs: %v", err)
	}
	cancel()
	xs[1].Stop(time.Minute)
	for i, x := range xs {
		if end := x.Wait(); !end.Lost || !strings.Contains(end.Message, "the engine does not answer") {
			t.Errorf("%d: %+v", i, end)
		}
		x.Close()
	}
	if e.Healthy() == nil {
		t.Error("an ant whose engine hangs takes tasks")
	}
	after := impatient(t, engine.Host, dir)
	testkit.Run(t, after.Run)
	nothingLeft(t, after)
}

// An engine that hangs while it is asked for anything ends the task, wherever that is.
func TestEngineThatHangsAtARequest(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	for _, last := range []string{"/containers/create", "/attach?", "/wait?condition=next-exit", "/start "} {
		t.Run(last, func(t *testing.T) {
			t.Parallel()
			c := newCable(t, engine.Host)
			c.last = last
			dir := t.TempDir()
			e := impatient(t, c.host, dir)
			e.call = time.Second
			testkit.Run(t, e.Run)
			x := e.Prepare(in(t, executor.Task{UID: unique("hangs"), Script: []string{"sleep 1000"}}, plan.Options{}), executor.Merge(io.Discard))
			_ = x.Create()
			x.Start()
			if end := x.Wait(); end.Class != executor.Infra && !end.Lost || !strings.Contains(end.Message, "no word for") && !strings.Contains(end.Message, "does not answer") {
				t.Errorf("%+v", end)
			}
			x.Close()
			after := impatient(t, engine.Host, dir)
			testkit.Run(t, after.Run)
			nothingLeft(t, after)
		})
	}
}

// An engine whose connections break and that hangs later makes its task lost as well.
func TestEngineThatHangsAfterItCameBack(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	c := newCable(t, engine.Host)
	dir := t.TempDir()
	e := impatient(t, c.host, dir)
	e.call = 5 * time.Second
	testkit.Run(t, e.Run)
	out := &saying{word: "the engine does not answer", said: make(chan struct{})}
	x := e.Prepare(in(t, executor.Task{UID: unique("severed"), Script: []string{"sleep 1000"}}, plan.Options{}), out)
	if err := x.Create(); err != nil {
		t.Fatal(err)
	}
	if x.Start() == "" {
		t.Fatalf("%+v", x.Wait())
	}
	ended := make(chan executor.End, 1)
	go func() { ended <- x.Wait() }()
	c.sever()
	select {
	case <-out.said:
	case end := <-ended:
		t.Fatalf("%+v, notes %q", end, out.note.String())
	}
	testkit.Eventually(t, time.Minute, "it waits again", func() bool { return c.heard("/wait?condition=not-running") })
	c.hang()
	if end := <-ended; !end.Lost {
		t.Errorf("%+v", end)
	}
	x.Close()
	after := impatient(t, engine.Host, dir)
	testkit.Run(t, after.Run)
	nothingLeft(t, after)
}

// A task that is to begin while the engine is away waits for it, and no other comes. Its patience has an end.
func TestEngineThatIsAwayWhenATaskBegins(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	c := unplugged(t, engine.Host)
	e := impatient(t, c.host, t.TempDir())
	e.mu.Lock()
	e.away = nil // it was there a moment ago
	e.mu.Unlock()
	task := in(t, executor.Task{UID: unique("away"), Script: []string{"echo on"}}, plan.Options{})
	x := e.Prepare(task, executor.Merge(io.Discard))
	if err := x.Create(); err == nil || e.Healthy() == nil {
		t.Errorf("created: %v, healthy: %v", err, e.Healthy())
	}
	if end := x.Wait(); end.Class != executor.Infra || end.Lost {
		t.Errorf("%+v", end)
	}
	x.Close()
	e.patience = 5 * time.Minute
	testkit.Run(t, e.Run)
	out := &saying{word: "the engine does not answer", said: make(chan struct{})}
	x = e.Prepare(task, out)
	created := make(chan error, 1)
	go func() { created <- x.Create() }()
	<-out.said
	c.plug(t)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	x.Start()
	if end := x.Wait(); end.Class != executor.None || out.text.String() != "on\n" {
		t.Errorf("%+v, printed %q", end, out.text.String())
	}
	x.Close()
	nothingLeft(t, e)
}

// While the engine is silent nobody can say that a task of an earlier life has ended: it goes on when the engine answers, and is lost
// when that takes too long. What does not go on is waited for. Nothing of it is left.
func TestSilentEngineAtARestart(t *testing.T) {
	tasks := map[string]executor.Task{}
	for _, name := range []string{"goes on", "stopped", "too late", "ended"} {
		tasks[name] = in(t, executor.Task{UID: unique(name), Script: []string{trap, await, "echo after"}}, plan.Options{})
	}
	there, traces := killed(t, tasks)
	c := unplugged(t, there.opts.Host)
	l := earlier{Host: c.host, Dir: there.opts.Dir}
	e, err := l.executor()
	if err != nil {
		t.Fatal(err)
	}
	byUID := map[string]string{"of another executor": "1 2 3"}
	for name, task := range tasks {
		if name != "ended" {
			byUID[task.UID] = traces[name]
		}
	}
	if found := e.Find(t.Context(), byUID); len(found) != 3 {
		t.Errorf("found %q", found)
	}
	begin := func(name string) (executor.Execution, *saying) {
		out := &saying{word: "ready\n", said: make(chan struct{})}
		return e.Adopt(tasks[name], out), out
	}
	e.patience = 0
	late, _ := begin("too late")
	if trace := late.Start(); trace != "" {
		t.Errorf("trace %q", trace)
	}
	if end := late.Wait(); !end.Lost {
		t.Errorf("too late: %+v", end)
	}
	late.Close()
	e.patience = time.Minute
	stopped, _ := begin("stopped")
	x, out := begin("goes on")
	started := make(chan string, 2)
	go func() { started <- x.Start() }()
	go func() { started <- stopped.Start() }()
	stopped.Stop(time.Minute)
	if trace := <-started; trace != "" {
		t.Errorf("trace %q", trace)
	}
	if end := stopped.Wait(); !end.Lost {
		t.Errorf("stopped: %+v", end)
	}
	stopped.Close()
	recovered := make(chan error, 1)
	byUID[tasks["ended"].UID] = traces["ended"]
	go func() { recovered <- e.Recover(t.Context(), byUID) }()
	c.plug(t)
	if err := <-recovered; err != nil || e.Healthy() != nil {
		t.Error(err, e.Healthy())
	}
	testkit.Run(t, e.Run)
	if trace := <-started; trace != traces["goes on"] {
		t.Errorf("trace %q", trace)
	}
	<-out.said
	goOn(t, e, traces["goes on"])
	if end := x.Wait(); end.Class != executor.None || out.text.String() != "ready\nafter\n" {
		t.Errorf("%+v, printed %q", end, out.text.String())
	}
	x.Close()
	nothingLeft(t, e)
}

// An engine that is stopped and started again ends the tasks that it ran: that is no fault of theirs. What comes after runs.
func TestEngineThatIsStartedAgain(t *testing.T) {
	if os.Getuid() != 0 {
		testkit.Missing(t, "an engine that may be ended")
	}
	engine := enginetest.Private(t).WithBusybox(t)
	pid, err := engine.PID()
	if err != nil {
		t.Fatal(err)
	}
	conf := DefaultConfig()
	conf.Host = engine.Host
	e, err := New(Options{Config: conf, Ant: "test", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, e.Run)
	out := &saying{word: "ready\n", said: make(chan struct{})}
	x := e.Prepare(in(t, executor.Task{UID: unique("again"), Script: []string{"echo ready; sleep 1000"}}, plan.Options{}), out)
	if err := x.Create(); err != nil {
		t.Fatal(err)
	}
	x.Start()
	<-out.said
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	end := x.Wait()
	x.Close()
	if end.Class != executor.Infra || !strings.Contains(end.Message, "ended the container") {
		t.Errorf("%+v", end)
	}
	testkit.Eventually(t, 60*time.Second, "the engine is another process, and answers", func() bool {
		now, err := engine.PID()
		return err == nil && now != pid && e.ping(t.Context()) == nil
	})
	if r := subject(t, e).Execute(t, in(t, executor.Task{Script: []string{"echo on"}}, plan.Options{}), nil); r.Stdout != "on\n" {
		t.Errorf("after it: %+v, %q", r.End, r.Stdout)
	}
	nothingLeft(t, e)
}
