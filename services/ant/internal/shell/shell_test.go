package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SHELL_TEST_VICTIM"); dir != "" {
		victim(dir)
		return
	}
	if raw := os.Getenv("SHELL_TEST_EARLIER"); raw != "" {
		var l earlier
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			panic(err)
		}
		if traces := os.Getenv("SHELL_TEST_ADOPT"); traces != "" {
			l.adoptAll(traces)
		}
		l.live()
	}
	testkit.Main(m)
}

// modes are the two cages; every behaviour is tested in both.
var modes = map[string]bool{"cgroup": false, "processTree": true}

func start(t testing.TB, dir string, withoutCgroups bool) *Executor {
	t.Helper()
	return startWith(t, Options{Dir: dir, WithoutCgroups: withoutCgroups, Lease: lease(t, 0), LeaseTime: time.Minute})
}

// lease makes the file of an ant that had its last answer some time ago.
func lease(t testing.TB, ago time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lease")
	if err := os.WriteFile(path, []byte(fmt.Sprintf("%-15.2f\n", float64(uptime())/ticksPerSecond-ago.Seconds())), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func startWith(t testing.TB, o Options) *Executor {
	t.Helper()
	o.Environment, o.Hold = map[string]string{"PATH": os.Getenv("PATH")}, 300*time.Millisecond
	withoutCgroups := o.WithoutCgroups
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !withoutCgroups && !e.caged {
		e.close()
		testkit.Missing(t, "no control group can be made here")
	}
	testkit.Run(t, e.Run)
	return e
}

func inBothCages(t *testing.T, test func(t *testing.T, e *Executor)) {
	for name, without := range modes {
		t.Run(name, func(t *testing.T) { test(t, start(t, filepath.Join(t.TempDir(), "work"), without)) })
	}
}

// safe is a buffer for two goroutines.
type safe struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// execute runs a task to its end; stop, if set, is called with the execution once it has printed "ready".
func execute(t testing.TB, e *Executor, task executor.Task, stop func(executor.Execution)) (executor.End, string) {
	t.Helper()
	out := &safe{}
	x := e.Prepare(task, executor.Merge(out))
	done := make(chan executor.End, 1)
	go func() {
		if x.Create() == nil {
			x.Start()
		}
		end := x.Wait()
		x.Close()
		done <- end
	}()
	if stop != nil {
		testkit.Eventually(t, 20*time.Second, "the task is ready", func() bool { return strings.Contains(out.String(), "ready") })
		stop(x)
	}
	select {
	case end := <-done:
		return end, out.String()
	case <-time.After(20 * time.Second):
		t.Fatalf("does not end; it printed %q", out.String())
		return executor.End{}, ""
	}
}

func TestScripts(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	for name, c := range map[string]struct {
		task  executor.Task
		code  int
		class executor.Class
		out   string
	}{
		"success":              {executor.Task{Script: []string{"true"}}, 0, "", ""},
		"empty":                {executor.Task{}, 0, "", ""},
		"exact code":           {executor.Task{Script: []string{"(exit 42)", "echo no"}}, 42, "user", ""},
		"exit":                 {executor.Task{Script: []string{"exit 7"}}, 7, "user", ""},
		"set -e":               {executor.Task{Script: []string{"false", "echo no"}}, 1, "user", ""},
		"condition is no fail": {executor.Task{Script: []string{"false || true", "if false; then :; fi", "echo yes"}}, 0, "", "yes\n"},
		"unknown command":      {executor.Task{Script: []string{"no-such-command 2>/dev/null"}}, 127, "user", ""},
		"syntax error":         {executor.Task{Script: []string{"if"}}, 2, "user", "?"},
		"signal":               {executor.Task{Script: []string{"kill -9 $$"}}, 137, "user", ""},
		"one session":          {executor.Task{Before: []string{"mkdir d; cd d; export A=1; B=2"}, Script: []string{"basename $(pwd)", "echo $A$B"}}, 0, "", "d\n12\n"},
		"both streams":         {executor.Task{Script: []string{"echo 1; sleep 0.3; echo 2 >&2; sleep 0.3; echo 3"}}, 0, "", "1\n2\n3\n"},
		"no input":             {executor.Task{Script: []string{"cat"}}, 0, "", ""},
		"after":                {executor.Task{Script: []string{"cd /; A=1"}, After: []string{"echo $A; pwd"}}, 0, "", "1\n/\n"},
		"after a failure":      {executor.Task{Script: []string{"(exit 3)"}, After: []string{"echo after"}}, 3, "user", "after\n"},
		"after before_script":  {executor.Task{Before: []string{"exit 5"}, Script: []string{"echo no"}, After: []string{"echo after"}}, 5, "user", "after\n"},
		"after goes on":        {executor.Task{Script: []string{"true"}, After: []string{"false", "echo on", "exit 9"}}, 0, "", "on\n"},
		"after is broken":      {executor.Task{Script: []string{"exit 4"}, After: []string{"if"}}, 4, "user", "?"},
		"after a broken line":  {executor.Task{Script: []string{"echo 1", "if"}, After: []string{"echo after"}}, 2, "user", "?"},
		"after an own trap":    {executor.Task{Script: []string{"trap 'echo mine' EXIT", "exit 6"}, After: []string{"echo after"}}, 6, "user", "mine\nafter\n"},
		"after exec":           {executor.Task{Script: []string{"exec sh -c 'exit 8'"}, After: []string{"echo after"}}, 8, "user", "after\n"},
		"after a kill":         {executor.Task{Script: []string{"kill -9 $$"}, After: []string{"echo after"}}, 137, "user", "after\n"},
		"working_dir":          {executor.Task{WorkingDir: "a/b", Script: []string{"pwd | sed 's|.*/work/||'"}}, 0, "", "a/b\n"},
		"working_dir outside":  {executor.Task{WorkingDir: "../x", Script: []string{"true"}}, -1, "rejected", ""},
		"bad variable":         {executor.Task{Environment: map[string]string{"a=b": "c"}}, -1, "rejected", ""},
		"too large":            {executor.Task{Environment: map[string]string{"BIG": strings.Repeat("x", 1<<20)}}, -1, "rejected", ""},
		"quotes":               {executor.Task{Script: []string{`printf '%s\n' "it's \"$X\""`}, Environment: map[string]string{"X": "a b'c\nd"}}, 0, "", "it's \"a b'c\nd\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			end, out := execute(t, e, c.task, nil)
			if end.ExitCode != c.code || end.Class != c.class {
				t.Errorf("code %d, class %q (%s), want %d, %q; printed %q", end.ExitCode, end.Class, end.Message, c.code, c.class, out)
			}
			if c.out != "?" && out != c.out {
				t.Errorf("printed %q, want %q", out, c.out)
			}
			if (end.Message == "") != (c.class == "") {
				t.Errorf("message %q", end.Message)
			}
		})
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("LEAK", "from the ant")
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	_, out := execute(t, e, executor.Task{UID: "u1", Script: []string{"env | sort | cut -d= -f1"}, Environment: map[string]string{"MINE": "1", "FORMICARY_WORKDIR": "forged"}}, nil)
	if want := "FORMICARY_ATTEMPT_UID\nFORMICARY_OUTPUT\nFORMICARY_WORKDIR\nMINE\nPATH\nPWD\n"; out != want {
		t.Errorf("variables %q, want %q", out, want)
	}
}

func TestOutputs(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	end, _ := execute(t, e, executor.Task{Script: []string{
		"echo ::set-output name=a::1", `echo b=2 >>"$FORMICARY_OUTPUT"`, `printf 'c<<E\nx\ny\nE\n' >>"$FORMICARY_OUTPUT"`,
	}}, nil)
	if got := fmt.Sprint(end.Outputs); got != "map[a:1 b:2 c:x\ny]" {
		t.Errorf("outputs %s", got)
	}
	end, _ = execute(t, e, executor.Task{Script: []string{`head -c 70000 /dev/zero | tr '\0' x | sed 's/^/big=/' >"$FORMICARY_OUTPUT"`}}, nil)
	if end.Class != executor.User || !strings.Contains(end.Message, "larger than 64 KiB") || end.Outputs != nil {
		t.Errorf("too large: %+v", end)
	}
	// Overwriting one value again and again is too much as well: what is cut off would be the newest.
	end, _ = execute(t, e, executor.Task{Script: []string{`seq 30000 | sed 's/^/n=/' >"$FORMICARY_OUTPUT"`}}, nil)
	if end.Class != executor.User || !strings.Contains(end.Message, "larger than 64 KiB") || end.Outputs != nil {
		t.Errorf("too long: %+v", end)
	}
	end, _ = execute(t, e, executor.Task{Script: []string{`echo nonsense >"$FORMICARY_OUTPUT"`}}, nil)
	if end.Class != executor.User || !strings.Contains(end.Message, "line 1") {
		t.Errorf("nonsense: %+v", end)
	}
	end, _ = execute(t, e, executor.Task{Script: []string{`rm "$FORMICARY_OUTPUT"; ln -s /etc/passwd "$FORMICARY_OUTPUT"`}}, nil)
	if end.Class != executor.None || end.Outputs != nil {
		t.Errorf("link: %+v", end)
	}
}

func TestEveryAttemptFindsAnEmptyPlace(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	for i, mess := range []string{
		"echo x >file", "mkdir -p a/b && chmod 500 a/b a", "chmod 000 .", "touch .hidden", `cd .. && rm -rf work && ln -s /tmp work`,
		`rm ../script && ln -s /dev/null ../script`, `echo a=b >"$FORMICARY_OUTPUT"`, `rm -f ../code; mkdir ../code`, "true",
		`chmod 444 "$FORMICARY_OUTPUT"`, "chmod 755 ../script", "touch ../left", "chmod 777 ..",
	} {
		if end, out := execute(t, e, executor.Task{Script: []string{mess}}, nil); end.Class != executor.None {
			t.Fatalf("mess %d: %+v %s", i, end, out)
		}
		end, out := execute(t, e, executor.Task{Script: []string{`ls -A; cat "$FORMICARY_OUTPUT"; stat -c %a . .. ../script "$FORMICARY_OUTPUT"; ls -A ..`}}, nil)
		if out != "700\n700\n600\n600\ncode\noutput\nrecord\nscript\nstderr\nstdout\nwork\n" || len(end.Outputs) > 0 {
			t.Errorf("after %q: %q %v", mess, out, end.Outputs)
		}
	}
}

// gone waits until no process of the attempt is left.
func gone(t *testing.T, uid string) {
	t.Helper()
	for _, pid := range everyone() {
		if p, ok := readProcess(pid); ok && !p.zombie && variable(environ(pid), uidVariable+uid+"\x00") {
			t.Errorf("process %d of %s is left", pid, uid)
		}
	}
}

func TestBackgroundChildrenAreKilled(t *testing.T) {
	for name, line := range map[string]string{
		"plain":       "sleep 300 & echo ready",
		"silent":      "sleep 300 >/dev/null 2>&1 & echo ready",
		"own session": "setsid sleep 300 >/dev/null 2>&1 & echo ready",
		"deaf":        `(trap '' TERM HUP; while :; do sleep 1; done) & echo ready`,
		"orphan":      "(setsid sh -c 'sleep 300 & sleep 300' & ) ; echo ready",
	} {
		t.Run(name, func(t *testing.T) {
			inBothCages(t, func(t *testing.T, e *Executor) {
				begun := time.Now()
				end, out := execute(t, e, executor.Task{UID: "bg-" + name, Script: []string{line}}, nil)
				if end.Class != executor.None || out != "ready\n" {
					t.Errorf("%+v %q", end, out)
				}
				if took := time.Since(begun); took > 3*time.Second {
					t.Errorf("took %s", took)
				}
				gone(t, "bg-"+name)
			})
		})
	}
}

func TestCgroupHoldsWhatHidesItself(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), false)
	file := filepath.Join(t.TempDir(), "pid")
	_, _ = execute(t, e, executor.Task{Script: []string{fmt.Sprintf("(setsid env -i sh -c 'echo $$ >%s; exec sleep 300' >/dev/null 2>&1 &)", file), "while [ ! -s " + file + " ]; do sleep 0.01; done"}}, nil)
	pid, err := strconv.Atoi(trimmed(file))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Second, "it is dead", func() bool {
		p, ok := readProcess(pid)
		return !ok || p.zombie
	})
}

func TestStop(t *testing.T) {
	for name, c := range map[string]struct {
		lines, after []string
		grace        time.Duration
		code         int
		out          string
		most         time.Duration
	}{
		"term":         {[]string{"echo ready; sleep 300"}, nil, 5 * time.Second, 143, "ready\n", 2 * time.Second},
		"handler":      {[]string{"trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done"}, nil, 5 * time.Second, 9, "ready\n?bye\n", 2 * time.Second},
		"deaf":         {[]string{"trap '' TERM", "echo ready; while :; do sleep 0.1; done"}, nil, 200 * time.Millisecond, 137, "ready\n", 3 * time.Second},
		"deaf child":   {[]string{`sh -c "trap '' TERM; echo ready; while :; do sleep 0.1; done"`}, nil, 200 * time.Millisecond, 143, "ready\n", 3 * time.Second},
		"slow child":   {[]string{`sh -c "trap 'sleep 0.6; echo clean; exit' TERM; echo ready; while :; do sleep 0.1; done"`}, nil, 5 * time.Second, 143, "ready\n?clean\n", 3 * time.Second},
		"own session":  {[]string{"setsid sleep 300 & echo ready; wait"}, nil, time.Minute, 143, "ready\n", 3 * time.Second},
		"orphan":       {[]string{"(setsid sh -c 'sleep 300 & sleep 300' &); echo ready; sleep 300"}, nil, time.Minute, 143, "ready\n", 3 * time.Second},
		"slow session": {[]string{`setsid sh -c "trap 'sleep 0.6; echo clean; exit' TERM; echo ready; while :; do sleep 0.1; done" & wait`}, nil, time.Minute, 143, "ready\n?clean\n", 4 * time.Second},
		"deaf session": {[]string{`setsid sh -c "trap '' TERM; echo ready; while :; do sleep 0.1; done" & wait`}, nil, 500 * time.Millisecond, 143, "ready\n", 3 * time.Second},
		"at once":      {[]string{"trap '' TERM; echo ready; while :; do sleep 0.1; done"}, []string{"echo no"}, 0, 137, "ready\n", 2 * time.Second},
		"after, term":  {[]string{"sh -c 'echo ready; exec sleep 300'"}, []string{"echo after"}, 5 * time.Second, 143, "ready\n?after\n", 2 * time.Second},
		"after a kill": {[]string{"trap '' TERM; echo ready; while :; do sleep 0.1; done"}, []string{"echo after"}, 200 * time.Millisecond, 137, "ready\nafter\n", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBothCages(t, func(t *testing.T, e *Executor) {
				begun := time.Now()
				end, out := execute(t, e, executor.Task{UID: "stop", Script: c.lines, After: c.after}, func(x executor.Execution) { x.Stop(c.grace) })
				want, other, _ := strings.Cut(c.out, "?") // a shell may also say that it was terminated
				if !strings.HasPrefix(out, want) || !strings.Contains(out, other) || end.ExitCode != c.code {
					t.Errorf("code %d, want %d; printed %q, want %q", end.ExitCode, c.code, out, c.out)
				}
				if took := time.Since(begun); took > c.most {
					t.Errorf("took %s", took)
				}
				gone(t, "stop")
			})
		})
	}
}

func TestStopBeforeStart(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	x := e.Prepare(executor.Task{Script: []string{"echo no"}}, executor.Merge(io.Discard))
	x.Stop(time.Second)
	if err := x.Create(); err != nil {
		t.Fatal(err)
	}
	if trace := x.Start(); trace != "" {
		t.Errorf("started: %s", trace)
	}
	if end := x.Wait(); end.Class != executor.Infra {
		t.Errorf("%+v", end)
	}
	x.Close()
}

func TestOutOfMemory(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), false)
	end, out := execute(t, e, executor.Task{UID: "oom", MemoryBytes: 32 << 20, Script: []string{"head -c 300M /dev/zero | tail | wc -c", "true"}}, nil)
	if strings.Contains(out, "cannot limit") {
		testkit.Missing(t, "no memory control group here")
	}
	// The pipe's last command decides in a plain shell: the kill shows only where it was the shell's own child.
	t.Logf("%+v %q", end, out)
	end, out = execute(t, e, executor.Task{UID: "oom2", MemoryBytes: 32 << 20, Script: []string{"tail /dev/zero"}}, nil)
	if end.Class != executor.OOM || end.ExitCode != 137 {
		t.Errorf("%+v %q", end, out)
	}
	if left, _ := filepath.Glob(filepath.Join(e.groups.v1["memory"], "oom*")); len(left) > 0 && e.groups.v1["memory"] != "" {
		t.Errorf("left: %v", left)
	}
}

// victim is an ant that is killed: it starts a task with a child in a session of its own and waits.
func victim(dir string) {
	e, err := New(Options{Dir: dir, WithoutCgroups: os.Getenv("SHELL_TEST_CGROUPS") == ""})
	if err == nil {
		err = e.Recover(context.Background(), nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	x := e.Prepare(executor.Task{UID: "victim", Script: []string{"trap '' TERM HUP", "(setsid sleep 300 &)", "sleep 300 & env -i sleep 300 & echo ready; wait"}}, executor.Merge(os.Stderr))
	_ = x.Create()
	_, _ = fmt.Fprintln(os.Stdout, x.Start())
	x.Wait()
}

func TestNextLifeKillsWhatTheLastLeft(t *testing.T) {
	for name, without := range modes {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "work")
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "SHELL_TEST_VICTIM="+dir)
			if !without {
				cmd.Env = append(cmd.Env, "SHELL_TEST_CGROUPS=1")
			}
			var traces, ready safe
			cmd.Stdout, cmd.Stderr = &traces, &ready
			cmd.WaitDelay = 100 * time.Millisecond
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, 20*time.Second, "the task runs", func() bool {
				return strings.Contains(ready.String(), "ready") && strings.Contains(traces.String(), "\n")
			})
			tr, ok := parseTrace(traces.String())
			if p, alive := readProcess(tr.pid); !ok || !alive || !tr.of(p) {
				t.Fatalf("trace %q", traces.String())
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			testkit.Eventually(t, 20*time.Second, "the kernel has killed the shell", func() bool {
				p, ok := readProcess(tr.pid)
				return !ok || p.zombie
			})
			members := func() (n int) {
				for _, pid := range everyone() {
					if p, ok := readProcess(pid); ok && !p.zombie && (p.session == tr.pid || variable(environ(pid), uidVariable+"victim")) {
						n++
					}
				}
				return n
			}
			if members() == 0 {
				t.Fatal("nothing was left to be killed")
			}
			e, err := New(Options{Dir: dir, WithoutCgroups: without})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Recover(t.Context(), map[string]string{"victim": traces.String()}); err != nil {
				t.Fatal(err)
			}
			defer e.close()
			testkit.Eventually(t, time.Second, "all are dead", func() bool { return members() == 0 })
		})
	}
}

func TestTraceOfAnotherProcess(t *testing.T) {
	own, _ := readProcess(os.Getpid())
	if !(trace{pid: own.pid, since: own.start, before: own.start}).of(own) {
		t.Error("not of its own process")
	}
	if (trace{pid: own.pid, since: own.start + 1, before: own.start + 5}).of(own) {
		t.Error("of a process with the number of an older one")
	}
}

func TestAStrangersSessionIsLeftAlone(t *testing.T) {
	// A daemon: its session's leader is gone.
	out, err := exec.CommandContext(t.Context(), shell, "-c", "setsid sh -c 'echo $$; sleep 300 >/dev/null 2>&1 & echo $!'").Output()
	if err != nil {
		t.Fatal(err)
	}
	list := pids(string(out))
	if len(list) != 2 {
		t.Fatalf("%q", out)
	}
	defer kill(list[1])
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	if e.killMarked(map[string]string{"u": trace{pid: list[0], before: 1 << 60}.String()}) {
		t.Error("killed something")
	}
	if p, ok := readProcess(list[1]); !ok || p.zombie || p.session != list[0] {
		t.Errorf("the daemon is gone: %+v", p)
	}
}

func TestOneGigabyteWithoutNewline(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	n := &counter{}
	x := e.Prepare(executor.Task{Script: []string{"head -c 1G /dev/zero"}}, executor.Merge(n))
	_ = x.Create()
	x.Start()
	end := x.Wait()
	x.Close()
	if end.Class != executor.None || n.n != 1<<30 {
		t.Errorf("%+v, %d bytes", end, n.n)
	}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func BenchmarkTrue(b *testing.B) {
	for name, without := range modes {
		b.Run(name, func(b *testing.B) {
			e := start(b, filepath.Join(b.TempDir(), "work"), without)
			for b.Loop() {
				x := e.Prepare(executor.Task{UID: "bench", Script: []string{"true"}, Environment: map[string]string{"CI": "true"}}, executor.Merge(io.Discard))
				_ = x.Create()
				x.Start()
				if end := x.Wait(); end.Class != executor.None {
					b.Fatalf("%+v", end)
				}
				x.Close()
			}
		})
	}
}

// BenchmarkBare is the floor: fork, exec and wait of the same shell.
func BenchmarkBare(b *testing.B) {
	script := filepath.Join(b.TempDir(), "script")
	if err := os.WriteFile(script, []byte("set -e\ntrue\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for b.Loop() {
		p, err := os.StartProcess(shell, []string{"sh", script}, &os.ProcAttr{Env: []string{"PATH=/bin"}, Files: []*os.File{null, null, null}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestZombiesAreReaped(t *testing.T) {
	if !becomeSubreaper() {
		t.Skip("cannot be a subreaper")
	}
	before, err := orphans()
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.CommandContext(t.Context(), shell, "-c", "(setsid sh -c 'echo $$' &) ; sleep 0.1").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	testkit.Eventually(t, 20*time.Second, "the orphan is a dead child of ours", func() bool {
		p, ok := readProcess(pid)
		return ok && p.zombie && p.parent == os.Getpid()
	})
	b := zombies{}
	b.reap()
	if _, ok := readProcess(pid); !ok {
		t.Error("reaped in the first round")
	}
	b.reap()
	if _, ok := readProcess(pid); ok {
		t.Errorf("not reaped; orphans before: %v", before)
	}
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
}

func TestLongValuesAreFiles(t *testing.T) {
	inBothCages(t, func(t *testing.T, e *Executor) {
		end, out := execute(t, e, executor.Task{
			UID: "long", Files: map[string]string{"big": strings.Repeat("x", 300_000), "own": "o"}, Environment: map[string]string{"own_FILE": "mine"},
			Script: []string{`wc -c < "$big_FILE"`, `echo "$own_FILE ${big-unset}"`, `stat -c %a "$big_FILE"`},
		}, nil)
		if end.Class != executor.None || strings.Join(strings.Fields(out), " ") != "300000 mine unset 600" {
			t.Errorf("%+v %q", end, out)
		}
		end, _ = execute(t, e, executor.Task{UID: "bad", Files: map[string]string{"../x": "y"}, Script: []string{"true"}}, nil)
		if end.Class != executor.Rejected {
			t.Errorf("%+v", end)
		}
	})
}

func TestUsage(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	end, _ := execute(t, e, executor.Task{UID: "usage", Script: []string{"i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"}}, nil)
	if end.Usage.CPU < 10*time.Millisecond || end.Usage.PeakMemory != 0 {
		t.Errorf("%+v: the loop counts, the memory of the ant does not", end.Usage)
	}
	if got := peak(&syscall.Rusage{Maxrss: 1 << 30}); got != 1<<40 {
		t.Errorf("%d bytes", got)
	}
}
