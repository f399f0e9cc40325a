package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

// earlierLife is the variable with the earlier of a process.
const earlierLife = "DOCKER_TEST_EARLIER"

// earlier is what an ant that is killed does: tasks by uid.
type earlier struct {
	Host, Dir string
	Tasks     map[string]executor.Task
	Log       string // where the log of a task says what it shows
}

// logged is a log that waits for a word.
type logged struct {
	*tasklog.Log
	*saying
}

func (l logged) Stdout() io.Writer { return io.MultiWriter(l.Log.Stdout(), l.saying) }
func (l logged) Stderr() io.Writer { return l.Log.Stderr() }
func (l logged) Note(line string)  { l.Log.Note(line) }

func (l earlier) executor() (*Executor, error) {
	conf := DefaultConfig()
	conf.Host = l.Host
	return New(Options{Config: conf, Ant: "test", Dir: l.Dir})
}

// live is the life of such an ant, in a process of its own. It prints the traces of its tasks when each has printed "ready".
func live(text string) {
	var l earlier
	err := json.Unmarshal([]byte(text), &l)
	var e *Executor
	if err == nil {
		e, err = l.executor()
	}
	if err == nil {
		err = e.Recover(context.Background(), nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	traces := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for uid, task := range l.Tasks {
		all.Go(func() {
			out := &saying{word: "ready\n", said: make(chan struct{})}
			var to executor.Output = out
			if l.Log != "" {
				shown, err := os.Create(l.Log)
				if err != nil {
					panic(err)
				}
				words := json.NewEncoder(shown)
				to = logged{tasklog.New(tasklog.Options{Path: l.Log + ".kept", Limit: 64 << 20, Live: func(c tasklog.Chunk) { _ = words.Encode(c) }}), out}
			}
			x := e.Prepare(task, to)
			_ = x.Create()
			trace := x.Start()
			if trace == "" {
				fmt.Fprintln(os.Stderr, uid, x.Wait())
				os.Exit(1)
			}
			go x.Wait()
			<-out.said
			mu.Lock()
			defer mu.Unlock()
			traces[uid] = trace
		})
	}
	all.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(traces)
	select {}
}

// saying is an output that waits for a word.
type saying struct {
	mu   sync.Mutex
	text strings.Builder
	note strings.Builder
	word string
	said chan struct{}
	done bool
}

func (s *saying) Stdout() io.Writer { return s }
func (s *saying) Stderr() io.Writer { return s }

func (s *saying) Note(line string) { s.look(&s.note, line+"\n") }

func (s *saying) Write(p []byte) (int, error) {
	s.look(&s.text, string(p))
	return len(p), nil
}

func (s *saying) look(in *strings.Builder, p string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in.WriteString(p)
	if !s.done && strings.Contains(in.String(), s.word) {
		s.done = true
		close(s.said)
	}
}

// killed runs tasks in an ant, kills it when all of them are ready, and returns the next life.
func killed(t *testing.T, tasks map[string]executor.Task) (next *Executor, traces map[string]string) {
	t.Helper()
	return earlier{Tasks: tasks}.killed(t)
}

func (l earlier) killed(t *testing.T) (next *Executor, traces map[string]string) {
	t.Helper()
	engine := enginetest.Shared(t).WithBusybox(t)
	l.Host, l.Dir = engine.Host, t.TempDir()
	tasks := l.Tasks
	raw, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), earlierLife+"="+string(raw))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(out).Decode(&traces); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if next, err = l.executor(); err != nil || len(traces) != len(tasks) {
		t.Fatalf("%d traces, %v", len(traces), err)
	}
	return next, traces
}

// goOn lets a task go on that waits for it.
func goOn(t *testing.T, e *Executor, id string) {
	t.Helper()
	if err := e.engine().ContainerKill(t.Context(), id, "USR1"); err != nil {
		t.Error(err)
	}
}

// unique is a uid that no earlier test left anything of.
func unique(name string) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), time.Now().UnixNano())
}

const (
	trap  = `trap 'go=1' USR1; echo ready`
	await = `while [ -z "$go" ]; do sleep 0.1 || :; done 2>/dev/null`
)

// An ant that is killed loses nothing of its containers: neither what they printed, nor how they end. What it does not adopt is removed.
func TestAdoption(t *testing.T) {
	cases := map[string]struct {
		task  executor.Task
		o     plan.Options
		early bool // it goes on before it is adopted
		stop  time.Duration
		code  int
		class executor.Class
		out   string
		notes string
	}{
		"goes on":      {task: executor.Task{Script: []string{trap, await, "echo after"}}, out: "ready\nafter\n"},
		"ends alone":   {task: executor.Task{Script: []string{trap, await, "echo after; exit 7"}}, early: true, code: 7, class: executor.User, out: "ready\nafter\n"},
		"after_script": {task: executor.Task{Script: []string{trap, await, "exit 3"}, After: []string{"echo after"}}, code: 3, class: executor.User, out: "ready\nafter\n"},
		"after_script of a killed script": {
			task: executor.Task{Script: []string{trap, await, "kill -9 $$"}, After: []string{"echo after"}}, early: true, code: 137, class: executor.User, out: "ready\nafter\n",
		},
		"killed in its after_script": {
			task: executor.Task{Script: []string{"kill -9 $$"}, After: []string{trap, await, "echo after"}}, code: 137, class: executor.User, out: "ready\nafter\n",
		},
		"outputs":     {task: executor.Task{Script: []string{"echo ::set-output name=a::1", `echo b=2 >>"$FORMICARY_OUTPUT"`, trap, await}}, out: "::set-output name=a::1\nready\n"},
		"much output": {task: executor.Task{Script: []string{"seq 20000", trap, await, "seq 20000; head -c 100000 /dev/zero | tr '\\0' x; echo"}}, out: numbers + "ready\n" + numbers + strings.Repeat("x", 100_000) + "\n"},
		"is stopped":  {task: executor.Task{Script: []string{"trap '' TERM; echo ready; while :; do sleep 0.1; done"}}, stop: 300 * time.Millisecond, code: 137, class: executor.User, out: "ready\n"},
		"has a service": {
			task: executor.Task{Script: []string{trap, await, "wget -q -O - http://web:8080/"}}, o: plan.Options{NetworkMode: "bridge", Services: []plan.Sidecar{beside("web", serve, 8080)}},
			out: "ready\nserved by 1\n", notes: "[web] begins\n",
		},
	}
	tasks := map[string]executor.Task{}
	for name, c := range cases {
		c.task.UID = unique(name)
		tasks[name] = in(t, c.task, c.o)
	}
	tasks["not adopted"] = in(t, executor.Task{UID: unique("not adopted"), Script: []string{"echo ready; sleep 1000"}}, plan.Options{NetworkMode: "bridge", Services: []plan.Sidecar{beside("web", "sleep 1000")}})
	e, traces := killed(t, tasks)
	byUID := map[string]string{"unknown": "x"}
	for name, c := range cases {
		byUID[tasks[name].UID] = traces[name]
		if c.early {
			goOn(t, e, traces[name])
		}
	}
	found := e.Find(t.Context(), byUID)
	slices.Sort(found)
	delete(byUID, "unknown")
	if want := slices.Sorted(maps.Keys(byUID)); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	all, err := e.List(t.Context())
	if err != nil || len(all) < len(cases)-1 || time.Since(all[0].Since) > time.Hour || all[0].ID != "formicary-"+all[0].UID {
		t.Errorf("listed %+v, %v", all, err)
	}
	if err := e.Recover(t.Context(), byUID); err != nil || e.Healthy() != nil {
		t.Fatal(err, e.Healthy())
	}
	testkit.Run(t, e.Run)
	if _, err := e.engine().ContainerInspect(t.Context(), traces["not adopted"]); err == nil {
		t.Error("what was not adopted is still there")
	}
	t.Cleanup(func() { nothingLeft(t, e) })
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &saying{word: "ready\n", said: make(chan struct{})}
			x := e.Adopt(tasks[name], out)
			defer x.Close()
			x.Start()
			<-out.said
			switch {
			case c.stop > 0:
				x.Stop(c.stop)
			case !c.early:
				goOn(t, e, traces[name])
			}
			end := x.Wait()
			if end.ExitCode != c.code || end.Class != c.class || end.Lost || out.text.String() != c.out || !strings.Contains(out.note.String(), c.notes) {
				t.Errorf("%+v, printed %d bytes %.300q, want %d bytes, notes %q", end, out.text.Len(), out.text.String(), len(c.out), out.note.String())
			}
			if name == "outputs" && fmt.Sprint(end.Outputs) != "map[a:1 b:2]" {
				t.Errorf("outputs %v", end.Outputs)
			}
		})
	}
}

var numbers = func() string {
	var s strings.Builder
	for i := range 20_000 {
		fmt.Fprintln(&s, i+1)
	}
	return s.String()
}()

// What nobody adopts after all is removed by its uid.
func TestRemove(t *testing.T) {
	uid := unique("removed")
	e, traces := killed(t, map[string]executor.Task{"u": in(t, executor.Task{UID: uid, Script: []string{"echo ready; sleep 1000"}}, plan.Options{})})
	if found := e.Find(t.Context(), map[string]string{uid: traces["u"]}); len(found) != 1 {
		t.Errorf("found %q", found)
	}
	if err := e.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, e.Run)
	if info, err := e.engine().ContainerInspect(t.Context(), traces["u"]); err != nil || info.State.Status != container.StateRunning {
		t.Errorf("what may be adopted does not run any more: %v", err)
	}
	if err := e.Remove(t.Context(), uid); err != nil {
		t.Error(err)
	}
	nothingLeft(t, e)
	if err := e.Remove(t.Context(), uid); err != nil {
		t.Error(err)
	}
}

// An ant that comes back under another id removes what its journal names. What is another ant's, by its id or its directory, stays.
func TestWhoseAContainerIs(t *testing.T) {
	uids := map[string]string{"journal": unique("journal"), "other": unique("other")}
	tasks := map[string]executor.Task{}
	for name, uid := range uids {
		tasks[name] = in(t, executor.Task{UID: uid, Script: []string{"echo ready; sleep 1000"}}, plan.Options{})
	}
	e, traces := killed(t, tasks)
	life := func(ant, dir string) *Executor {
		conf := e.opts.Config
		next, err := New(Options{Config: conf, Ant: ant, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(next.close)
		return next
	}
	runs := func(name string) bool {
		info, err := e.engine().ContainerInspect(t.Context(), traces[name])
		return err == nil && info.State.Running
	}
	if err := life("test", t.TempDir()).Recover(t.Context(), nil); err != nil || !runs("journal") || !runs("other") {
		t.Errorf("another directory: %v, %t, %t", err, runs("journal"), runs("other"))
	}
	journal := map[string]string{uids["journal"]: traces["journal"], "script": "17 4711"}
	if err := life("another", e.opts.Dir).Recover(t.Context(), journal); err != nil || runs("journal") || !runs("other") {
		t.Errorf("another id: %v, %t, %t", err, runs("journal"), runs("other"))
	}
	if err := e.Recover(t.Context(), nil); err != nil || runs("other") {
		t.Errorf("the same: %v, %t", err, runs("other"))
	}
	testkit.Run(t, e.Run)
	nothingLeft(t, e)
}

// An ant that is killed before the second session of a task begins leaves after_script to the next life.
func TestAfterScriptThatDidNotBegin(t *testing.T) {
	first := start(t, nil)
	task := in(t, executor.Task{UID: unique("after"), Script: []string{"echo ready; kill -9 $$"}, After: []string{"echo after"}}, plan.Options{})
	out := &saying{word: "ready\n", said: make(chan struct{})}
	x := first.prepare(task, out)
	if err := x.Create(); err != nil {
		t.Fatal(err)
	}
	trace := x.Start()
	<-out.said
	<-x.turn.ending.status
	if err := x.turnOver(137, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	e, err := earlier{Host: first.opts.Host, Dir: first.opts.Dir}.executor()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, e.Run)
	if found := e.Find(t.Context(), map[string]string{task.UID: trace}); len(found) != 1 {
		t.Errorf("found %q", found)
	}
	again := &saying{word: "after\n", said: make(chan struct{})}
	y := e.Adopt(task, again)
	y.Start()
	if end := y.Wait(); end.ExitCode != 137 || again.text.String() != "ready\nafter\n" {
		t.Errorf("%+v, printed %q", end, again.text.String())
	}
	y.Close()
	nothingLeft(t, e)
}

// stuck is an engine that removes no container until it is freed.
func stuck(t *testing.T, engine string) (host string, free func()) {
	t.Helper()
	if !strings.HasPrefix(engine, "unix://") {
		testkit.Missing(t, "an engine on this machine")
	}
	var freed atomic.Bool
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(engine, "unix://"))
	}
	transport := &http.Transport{DialContext: dial}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/containers/") && !freed.Load() {
			http.Error(w, `{"message":"device or resource busy"}`, http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { server.Close(); transport.CloseIdleConnections() })
	return strings.Replace(server.URL, "http", "tcp", 1), func() { freed.Store(true) }
}

// A container that cannot be removed is tried again. It keeps tasks waiting only while it runs.
func TestStuckContainers(t *testing.T) {
	runs, ended := unique("runs"), unique("ended")
	there, traces := killed(t, map[string]executor.Task{
		"runs":  in(t, executor.Task{UID: runs, Script: []string{"echo ready; sleep 1000"}}, plan.Options{}),
		"ended": in(t, executor.Task{UID: ended, Script: []string{"echo ready"}}, plan.Options{}),
	})
	testkit.Eventually(t, time.Minute, "one has ended", func() bool {
		info, err := there.engine().ContainerInspect(t.Context(), traces["ended"])
		return err == nil && info.State.Status == container.StateExited
	})
	t.Cleanup(there.close)
	host, free := stuck(t, there.opts.Host)
	l := earlier{Host: host, Dir: there.opts.Dir}
	blocked, err := l.executor()
	if err != nil {
		t.Fatal(err)
	}
	if err := blocked.Recover(t.Context(), nil); err != nil || blocked.Healthy() == nil {
		t.Error("an ant whose earlier life has left what runs takes tasks", err)
	}
	blocked.close()
	e, err := l.executor()
	if err != nil {
		t.Fatal(err)
	}
	if found := e.Find(t.Context(), map[string]string{runs: traces["runs"]}); len(found) != 1 {
		t.Errorf("found %q", found)
	}
	if err := e.Recover(t.Context(), nil); err != nil || e.Healthy() != nil {
		t.Error("what has ended keeps tasks waiting", err, e.Healthy())
	}
	if err := e.Remove(t.Context(), runs); err == nil {
		t.Error("it was removed")
	}
	free()
	testkit.Run(t, e.Run)
	nothingLeft(t, e)
}
