package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

// earlier is what an ant that is killed does: tasks by uid.
type earlier struct {
	Options Options
	Tasks   map[string]executor.Task
	Log     string // where the log of a task says what it shows
}

// output of a task, which is printed.
func (l earlier) output(printed io.Writer) executor.Output {
	if l.Log == "" {
		return executor.Merge(printed)
	}
	f, err := os.Create(l.Log)
	if err != nil {
		panic(err)
	}
	shown := json.NewEncoder(f)
	return tasklog.New(tasklog.Options{Path: l.Log + ".kept", Limit: 64 << 20, Live: func(c tasklog.Chunk) { _ = shown.Encode(c) }})
}

// live is the life of such an ant, in a process of its own. It prints the traces.
func (l earlier) live() {
	e, err := New(l.Options)
	if err == nil {
		err = e.Recover(context.Background(), nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	traces := map[string]string{}
	for uid, task := range l.Tasks {
		x := e.Prepare(task, l.output(io.Discard))
		_ = x.Create()
		started := make(chan string)
		go func() {
			started <- x.Start()
			x.Wait()
		}()
		traces[uid] = <-started
	}
	_ = json.NewEncoder(os.Stdout).Encode(traces)
	select {}
}

// killed runs tasks in an ant, kills it when all of them are ready, and returns the traces. A task is ready when there is
// a file named after it in dir.
func killed(t *testing.T, o Options, ready string, tasks map[string]executor.Task) map[string]string {
	t.Helper()
	for uid, task := range tasks {
		task.UID = uid
		task.Environment = map[string]string{"READY": filepath.Join(ready, uid)}
		tasks[uid] = task
	}
	return earlier{Options: o, Tasks: tasks}.killed(t, ready, nil)
}

func (l earlier) killed(t *testing.T, ready string, before func()) map[string]string {
	t.Helper()
	raw, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SHELL_TEST_EARLIER="+string(raw))
	cmd.Stderr = t.Output()
	var out safe
	cmd.Stdout = &out
	cmd.WaitDelay = 100 * time.Millisecond
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	traces := map[string]string{}
	testkit.Eventually(t, 30*time.Second, "the tasks run", func() bool {
		for uid := range l.Tasks {
			if !exists(filepath.Join(ready, uid)) {
				return false
			}
		}
		return json.Unmarshal([]byte(out.String()), &traces) == nil
	})
	if before != nil {
		before()
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return traces
}

// inBothEarlier runs a test with the options of an ant in both cages.
func inBothEarlier(t *testing.T, test func(t *testing.T, o Options)) {
	for name, without := range modes {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "work")
			test(t, Options{Dir: dir, WithoutCgroups: without, Lease: lease(t, 0), LeaseTime: time.Minute, Hold: 300 * time.Millisecond})
		})
	}
}

// adopting is the next life of an ant.
func adopting(t *testing.T, o Options, traces map[string]string) (e *Executor, found []string) {
	t.Helper()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	found = e.Find(t.Context(), traces)
	slices.Sort(found)
	if err := e.Recover(t.Context(), traces); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, e.Run)
	return e, found
}

// adopt goes on with a task until its end.
func adopt(t *testing.T, e *Executor, task executor.Task, during func(executor.Execution)) (executor.End, string) {
	t.Helper()
	out := &safe{}
	x := e.Adopt(task, executor.Merge(out))
	done := make(chan executor.End, 1)
	go func() {
		x.Start()
		end := x.Wait()
		x.Close()
		done <- end
	}()
	if during != nil {
		during(x)
	}
	select {
	case end := <-done:
		return end, out.String()
	case <-time.After(60 * time.Second):
		t.Fatalf("does not end; it printed %.200q", out.String())
		return executor.End{}, ""
	}
}

// An ant that is killed loses nothing of its tasks: neither what they printed, nor how they end.
func TestAdoption(t *testing.T) {
	const wait = `while [ ! -e "$READY.go" ]; do sleep 0.02; done`
	cases := map[string]struct {
		task  executor.Task
		late  bool // it goes on only when it has been adopted
		code  int
		class executor.Class
		out   string
	}{
		"goes on":       {executor.Task{Script: []string{"echo before", `touch "$READY"`, wait, "echo after"}}, true, 0, "", "before\nafter\n"},
		"ends alone":    {executor.Task{Script: []string{"echo before", `touch "$READY"`, wait, "echo after; exit 7"}}, false, 7, "user", "before\nafter\n"},
		"fails":         {executor.Task{Script: []string{`touch "$READY"`, wait, "(exit 42)", "echo no"}}, true, 42, "user", ""},
		"after_script":  {executor.Task{Script: []string{`touch "$READY"`, wait, "exit 3"}, After: []string{"echo after"}}, true, 3, "user", "after\n"},
		"outputs":       {executor.Task{Script: []string{"echo ::set-output name=a::1", `echo b=2 >>"$FORMICARY_OUTPUT"`, `touch "$READY"`, wait, `echo c=3 >>"$FORMICARY_OUTPUT"`}}, true, 0, "", "::set-output name=a::1\n"},
		"background":    {executor.Task{Script: []string{"setsid sleep 300 >/dev/null 2>&1 &", `touch "$READY"`, wait}}, true, 0, "", ""},
		"no line break": {executor.Task{Script: []string{"printf a", `touch "$READY"`, wait, "printf b"}}, true, 0, "", "ab"},
		"to dev-stderr": {
			executor.Task{Script: []string{"echo 1 >/dev/stderr", `touch "$READY"`, wait, "echo 2 >/dev/stderr; echo 3 >/dev/stderr"}},
			false, 0, "",
			"1\n2\n3\n",
		},
		"as much as no pipe holds": {executor.Task{Script: []string{`touch "$READY"`, wait, "seq 100000", "echo end"}}, false, 0, "", lines100k + "end\n"},
	}
	inBothEarlier(t, func(t *testing.T, o Options) {
		ready := t.TempDir()
		tasks := map[string]executor.Task{}
		for name, c := range cases {
			tasks[name] = c.task
		}
		traces := killed(t, o, ready, tasks)
		for name, c := range cases {
			if !c.late {
				if err := os.WriteFile(filepath.Join(ready, name+".go"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		testkit.Eventually(t, 20*time.Second, "what ends alone has ended", func() bool {
			tr, _ := parseTrace(traces["ends alone"])
			p, ok := readProcess(tr.pid)
			return !ok || p.zombie || !tr.of(p)
		})
		e, found := adopting(t, o, traces)
		if want := slices.Sorted(maps.Keys(cases)); !slices.Equal(found, want) {
			t.Fatalf("found %v, want %v", found, want)
		}
		for name, c := range cases {
			end, out := adopt(t, e, tasks[name], func(executor.Execution) {
				if err := os.WriteFile(filepath.Join(ready, name+".go"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			})
			if end.ExitCode != c.code || end.Class != c.class || end.Lost {
				t.Errorf("%s: %+v", name, end)
			}
			if out != c.out {
				t.Errorf("%s: printed %d bytes, want %d: %.200q", name, len(out), len(c.out), out)
			}
			if name == "outputs" && fmt.Sprint(end.Outputs) != "map[a:1 b:2 c:3]" {
				t.Errorf("outputs %v", end.Outputs)
			}
			gone(t, name)
		}
	})
}

var lines100k = func() string {
	var s strings.Builder
	for i := range 100_000 {
		fmt.Fprintln(&s, i+1)
	}
	return s.String()
}()

// What prints as fast as it can while one ant after the other is killed has a log without a gap, in which nothing stands twice.
func TestAdoptionWhileItPrints(t *testing.T) {
	inBothEarlier(t, func(t *testing.T, o Options) {
		ready := t.TempDir()
		task := executor.Task{Script: []string{`touch "$READY"; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); echo $i; [ ! -e "$READY.stop" ] || break; done; echo end $i`}}
		traces := killed(t, o, ready, map[string]executor.Task{"u": task})
		for range 2 { // lives that only read
			earlier{Options: o}.adopts(t, traces, func(said string) bool { return len(said) > 20_000 })
		}
		e, found := adopting(t, o, traces)
		if len(found) != 1 {
			t.Fatalf("found %v", found)
		}
		task.UID = "u"
		end, out := adopt(t, e, task, func(executor.Execution) { _ = os.WriteFile(filepath.Join(ready, "u.stop"), nil, 0o600) })
		if end.Class != executor.None {
			t.Errorf("%+v", end)
		}
		i := 0
		for line := range strings.Lines(out) {
			if i++; line != fmt.Sprintln(i) {
				if line != fmt.Sprintln("end", i-1) {
					t.Fatalf("line %d is %q", i, line)
				}
			}
		}
		t.Logf("%d lines", i)
	})
}

// adopts is a life that adopts, and is killed when it is enough.
func (l earlier) adopts(t *testing.T, traces map[string]string, enough func(said string) bool) {
	t.Helper()
	raw, _ := json.Marshal(l)
	adoptions, _ := json.Marshal(traces)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SHELL_TEST_EARLIER="+string(raw), "SHELL_TEST_ADOPT="+string(adoptions))
	cmd.Stderr = t.Output()
	var said safe
	cmd.Stdout = &said
	cmd.WaitDelay = 100 * time.Millisecond
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 30*time.Second, "it has adopted enough", func() bool { return enough(said.String()) })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// adoptAll is the life of an ant that adopts and prints what its tasks print, until it is killed.
func (l earlier) adoptAll(adoptions string) {
	traces := map[string]string{}
	_ = json.Unmarshal([]byte(adoptions), &traces)
	e, err := New(l.Options)
	if err == nil {
		e.Find(context.Background(), traces)
		err = e.Recover(context.Background(), traces)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for uid := range traces {
		x := e.Adopt(executor.Task{UID: uid}, l.output(os.Stdout))
		x.Start()
		go x.Wait()
	}
	select {}
}

func TestAdoptedIsStopped(t *testing.T) {
	inBothEarlier(t, func(t *testing.T, o Options) {
		tasks := map[string]executor.Task{
			"term":  {Script: []string{`setsid sleep 300 & touch "$READY"; sleep 300`}},
			"deaf":  {Script: []string{`trap '' TERM; touch "$READY"; while :; do sleep 0.1; done`}},
			"after": {Script: []string{`touch "$READY"; sleep 300`}, After: []string{"echo after"}},
		}
		e, found := adopting(t, o, killed(t, o, t.TempDir(), tasks))
		if len(found) != len(tasks) {
			t.Fatalf("found %v", found)
		}
		for name, want := range map[string]int{"term": 143, "deaf": 137, "after": 143} {
			end, out := adopt(t, e, tasks[name], func(x executor.Execution) { x.Stop(300 * time.Millisecond) })
			if end.ExitCode != want || end.Class != executor.User || name == "after" && !strings.Contains(out, "after\n") {
				t.Errorf("%s: %+v %q", name, end, out)
			}
			gone(t, name)
		}
	})
}

// What is not adopted is ended: by Remove, by a life without adoption, and by the guard when no life comes.
func TestWhatIsNotAdoptedEnds(t *testing.T) {
	hidden := executor.Task{Script: []string{"trap '' TERM HUP", `sleep 300 & setsid sleep 300 & touch "$READY"; wait`}}
	ended := func(t *testing.T) {
		t.Helper()
		testkit.Eventually(t, 30*time.Second, "all are dead", func() bool {
			for _, pid := range everyone() {
				if p, ok := readProcess(pid); ok && !p.zombie && variable(environ(pid), uidVariable+"orphan\x00") {
					return false
				}
			}
			return true
		})
	}
	inBothEarlier(t, func(t *testing.T, o Options) {
		traces := killed(t, o, t.TempDir(), map[string]executor.Task{"orphan": hidden})
		e, found := adopting(t, o, traces)
		if all, err := e.List(t.Context()); err != nil || len(found) != 1 || len(all) != 1 || all[0].UID != "orphan" || time.Since(all[0].Since) > time.Minute {
			t.Errorf("found %v, listed %+v, %v", found, all, err)
		}
		if err := e.Remove(t.Context(), "orphan"); err != nil {
			t.Error(err)
		}
		gone(t, "orphan")
		if all, err := e.List(t.Context()); err != nil || len(all) > 0 {
			t.Errorf("listed %+v, %v", all, err)
		}
	})
	inBothEarlier(t, func(t *testing.T, o Options) {
		traces := killed(t, o, t.TempDir(), map[string]executor.Task{"orphan": hidden})
		o.Lease = ""
		if _, found := adopting(t, o, traces); len(found) > 0 {
			t.Errorf("found %v", found)
		}
		gone(t, "orphan")
	})
	inBothEarlier(t, func(t *testing.T, o Options) {
		o.LeaseTime = 2 * time.Second
		killed(t, o, t.TempDir(), map[string]executor.Task{"orphan": hidden})
		ended(t)
	})
}

// guardOf is the process that guards the tasks in a directory; 0 when there is none.
func guardOf(dir string) int {
	life, err := os.ReadFile(filepath.Join(dir, guardFile))
	if err != nil {
		return 0
	}
	for _, pid := range everyone() {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(args, bytes.TrimSpace(life)) {
			return pid
		}
	}
	return 0
}

// A guard that is killed has a successor while the ant lives. After the ant it takes along only the tasks that print.
func TestGuardIsKilled(t *testing.T) {
	inBothEarlier(t, func(t *testing.T, o Options) {
		ready := t.TempDir()
		silent := executor.Task{UID: "u", Environment: map[string]string{"READY": filepath.Join(ready, "u")}, Script: []string{`echo before; touch "$READY"; while [ ! -e "$READY.go" ]; do sleep 0.02; done; echo after`}}
		traces := earlier{Options: o, Tasks: map[string]executor.Task{"u": silent}}.killed(t, ready, func() {
			first := guardOf(o.Dir)
			if first == 0 {
				t.Fatal("there is no guard")
			}
			_ = unix.Kill(first, unix.SIGKILL)
			testkit.Eventually(t, 30*time.Second, "it has a successor", func() bool { p := guardOf(o.Dir); return p != 0 && p != first })
		})
		last := guardOf(o.Dir)
		if last == 0 {
			t.Fatal("the tasks of the dead ant have no guard")
		}
		_ = unix.Kill(last, unix.SIGKILL)
		testkit.Eventually(t, 30*time.Second, "it is gone", func() bool { return guardOf(o.Dir) == 0 })
		e, found := adopting(t, o, traces)
		if len(found) != 1 {
			t.Fatalf("found %v", found)
		}
		end, out := adopt(t, e, silent, func(executor.Execution) { _ = os.WriteFile(filepath.Join(ready, "u.go"), nil, 0o600) })
		if end.Class != executor.None || out != "before\nafter\n" {
			t.Errorf("%+v %q", end, out)
		}
	})
}

// A guard holds more pipes than its socket takes: what is gone makes place.
func TestGuardHoldsManyPipes(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	for range 2000 {
		b, err := e.workspaces.acquire()
		if err != nil {
			t.Fatal(err)
		}
		e.workspaces.drop(b)
	}
}

// The number of a shell that ended before it was found may be another's: nothing is killed by it.
func TestNumberOfAnother(t *testing.T) {
	inBothEarlier(t, func(t *testing.T, o Options) {
		ready := t.TempDir()
		script := []string{`touch "$READY"`, `while [ ! -e "$READY.go" ]; do sleep 0.02; done`, "exit 7"}
		tasks := map[string]executor.Task{"adopted": {Script: script}, "removed": {Script: script}}
		traces := killed(t, o, ready, tasks)
		another := exec.CommandContext(t.Context(), "sleep", "1000")
		another.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := another.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = another.Wait() })
		for uid, text := range traces {
			if err := os.WriteFile(filepath.Join(ready, uid+".go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			tr, _ := parseTrace(text)
			testkit.Eventually(t, time.Minute, "it has ended", func() bool {
				p, ok := readProcess(tr.pid)
				return !ok || p.zombie
			})
			tr.pid, tr.since, tr.before = another.Process.Pid, 1, 2
			traces[uid] = tr.String()
		}
		e, found := adopting(t, o, traces)
		if len(found) != len(tasks) {
			t.Errorf("found %q", found)
		}
		if err := e.Remove(t.Context(), "removed"); err != nil {
			t.Error(err)
		}
		if end, _ := adopt(t, e, tasks["adopted"], nil); end.ExitCode != 7 {
			t.Errorf("%+v", end)
		}
		if p, ok := readProcess(another.Process.Pid); !ok || p.zombie {
			t.Error("another process is killed")
		}
	})
}
