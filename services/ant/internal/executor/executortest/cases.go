package executortest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// aCase is a task and how it must end.
type aCase struct {
	name    string
	task    executor.Task
	stop    func(executor.Execution)
	code    int
	class   executor.Class
	stdout  string
	stderr  string
	outputs map[string]string
	message string // a part of it
}

func (c aCase) hold(t *testing.T, r Result) {
	t.Helper()
	if r.End.ExitCode != c.code || r.End.Class != c.class || !strings.Contains(r.End.Message, c.message) || r.End.Lost {
		t.Errorf("end %+v, want code %d, class %q, message %q; stdout %.300q, stderr %.300q, notes %q", r.End, c.code, c.class, c.message, r.Stdout, r.Stderr, r.Notes)
	}
	if r.Stdout != c.stdout && c.stdout != anything {
		t.Errorf("stdout %d bytes %.300q, want %d bytes %.300q", len(r.Stdout), r.Stdout, len(c.stdout), c.stdout)
	}
	if r.Stderr != c.stderr && c.stderr != anything {
		t.Errorf("stderr %.300q, want %.300q", r.Stderr, c.stderr)
	}
	if !maps.Equal(r.End.Outputs, c.outputs) {
		t.Errorf("outputs %q, want %q", r.End.Outputs, c.outputs)
	}
}

const anything = "\x00anything"

func lines(l ...string) executor.Task { return executor.Task{Script: l} }

func scripts() []aCase {
	const long = 1 << 20
	return []aCase{
		{name: "success", task: lines("echo hello"), stdout: "hello\n"},
		{name: "nothing printed", task: lines(":")},
		{name: "exit code", task: lines("exit 7"), code: 7, class: executor.User, message: "exit code 7"},
		{name: "exit code 255", task: lines("exit 255"), code: 255, class: executor.User, message: "255"},
		{name: "exit in the middle", task: lines("echo one", "exit 0", "echo two"), stdout: "one\n"},
		{name: "a failing line ends the script", task: lines("echo one", "false", "echo two"), code: 1, class: executor.User, stdout: "one\n"},
		{name: "a command that is not there", task: lines("formicary-no-such-command"), code: 127, class: executor.User, stderr: anything},
		{name: "syntax error", task: lines("if"), code: 2, class: executor.User, stderr: anything},
		{name: "one session", task: lines("mkdir d", "cd d", "A=1", "f() { echo f$A; }", "f", "basename $PWD"), stdout: "f1\nd\n"},
		{name: "a script line of many lines", task: lines("for i in 1 2\ndo\n  echo $i\ndone"), stdout: "1\n2\n"},
		{name: "quotes and double spaces", task: lines(`printf '%s|' "a  b" 'c "d"' e\ f`), stdout: `a  b|c "d"|e f|`},
		{name: "before_script", task: executor.Task{Before: []string{"B=2", "cd /tmp"}, Script: []string{"echo $B $PWD"}}, stdout: "2 /tmp\n"},
		{
			name: "a failing before_script", task: executor.Task{Before: []string{"exit 9"}, Script: []string{"echo no"}, After: []string{"echo after"}},
			code: 9, class: executor.User, stdout: "after\n",
		},
		{name: "no final line break", task: lines("printf end"), stdout: "end"},
		{name: "unicode", task: lines("echo 'grüße 日本 🐜'"), stdout: "grüße 日本 🐜\n"},
		{name: "binary and NUL", task: lines(`printf 'a\000b\377\376\n\001'`), stdout: "a\x00b\xff\xfe\n\x01"},
		{name: "two streams", task: lines("echo out", "echo err >&2", "echo out2"), stdout: "out\nout2\n", stderr: "err\n"},
		{name: "a long line", task: lines(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", long)), stdout: strings.Repeat("x", long)},
		{name: "much output", task: lines("yes 0123456789abcde | head -n 500000"), stdout: strings.Repeat("0123456789abcde\n", 500_000)},
		{name: "standard input is empty", task: lines("cat", "echo end"), stdout: "end\n"},
		{
			name: "environment with quotes and line breaks", stdout: "it's \"a\"\n$B `c` \\|  |",
			task: executor.Task{Environment: map[string]string{"V": "it's \"a\"\n$B `c` \\", "SPACES": "  "}, Script: []string{`printf '%s|' "$V" "$SPACES"`}},
		},
		{name: "environment reaches programs", task: executor.Task{Environment: map[string]string{"V": "1 2"}, Script: []string{"sh -c 'echo $V'"}}, stdout: "1 2\n"},
		{
			name: "a name with '='", class: executor.Rejected, code: -1, message: "A=B",
			task: executor.Task{Environment: map[string]string{"A=B": "1"}, Script: []string{"echo no"}},
		},
		{name: "a line env NAME=VALUE", task: lines("env A=x", "sh -c 'echo $A'"), stdout: "x\n"},
		{
			name: "values as files", stdout: "200000\nplain\n",
			task: executor.Task{Files: map[string]string{"BIG": strings.Repeat("y", 200_000), "SMALL": "plain\n"}, Script: []string{`echo $(($(wc -c <"$BIG_FILE")))`, `cat "$SMALL_FILE"`}},
		},
		{name: "working_dir", task: executor.Task{WorkingDir: "a/b", Script: []string{`test "$PWD" = "$FORMICARY_WORKDIR/a/b"`, "touch x"}}},
		{name: "a working_dir outside", task: executor.Task{WorkingDir: "../x", Script: []string{"echo no"}}, code: -1, class: executor.Rejected, message: "working_dir"},
		{name: "the working directory is empty", task: lines("ls -A")},
		{name: "own variables", task: executor.Task{UID: "own-uid", Environment: map[string]string{"FORMICARY_OUTPUT": "/x"}, Script: []string{`echo $FORMICARY_ATTEMPT_UID`, `test -f "$FORMICARY_OUTPUT"`}}, stdout: "own-uid\n"},
		{
			name: "outputs", outputs: map[string]string{"a": "1", "doc": "x\n y=z", "said": "v"}, stdout: "::set-output name=said::v\n",
			task: lines(`echo a=0 >>"$FORMICARY_OUTPUT"`, `printf 'doc<<E\nx\n y=z\nE\na=1\n' >>"$FORMICARY_OUTPUT"`, "echo ::set-output name=said::v"),
		},
		{name: "outputs of a failed task", task: lines(`echo a=1 >>"$FORMICARY_OUTPUT"`, "exit 3"), code: 3, class: executor.User, outputs: map[string]string{"a": "1"}},
		{name: "an output file of another kind", task: lines(`if rm "$FORMICARY_OUTPUT"; then mkdir "$FORMICARY_OUTPUT"; fi`), class: executor.None, stderr: anything},
		{name: "wrong outputs", task: lines(`echo nonsense >"$FORMICARY_OUTPUT"`), class: executor.User, message: "output file, line 1"},
		{name: "outputs too large", task: lines(`head -c 300000 /dev/zero | tr '\0' x >"$FORMICARY_OUTPUT"`), class: executor.User, message: "64 KiB"},
		{
			name: "after_script", stdout: "script\nafter here 1\n",
			task: executor.Task{Environment: map[string]string{"E": "1"}, Script: []string{"V=here", "echo script"}, After: []string{"echo after $V $E"}},
		},
		{name: "after_script of a failed script", task: executor.Task{Script: []string{"false"}, After: []string{"echo after"}}, code: 1, class: executor.User, stdout: "after\n"},
		{name: "a failing after_script", task: executor.Task{Script: []string{"echo script"}, After: []string{"false", "echo after", "exit 5"}}, stdout: "script\nafter\n"},
		{name: "outputs of after_script", task: executor.Task{Script: []string{":"}, After: []string{`echo a=1 >>"$FORMICARY_OUTPUT"`}}, outputs: map[string]string{"a": "1"}},
		{
			name: "after_script of a script that becomes another program", stdout: "script\nafter 1\n",
			task: executor.Task{Environment: map[string]string{"E": "1"}, Script: []string{"exec sh -c 'echo script; exit 6'"}, After: []string{"echo after $E"}}, code: 6, class: executor.User,
		},
		{
			name: "after_script of a killed script", code: 137, class: executor.User, stdout: "after\n",
			task: executor.Task{Script: []string{"kill -9 $$"}, After: []string{"echo after"}}, stderr: anything,
		},
		{name: "killed by a signal", task: lines("kill -9 $$"), code: 137, class: executor.User, stderr: anything},
		{name: "a process in the background", task: lines("sleep 1000 >/dev/null 2>&1 &", "echo end"), stdout: "end\n"},
	}
}

// stops are tasks that are stopped when they have said that they are ready.
func stops() []aCase {
	after := func(grace time.Duration) func(executor.Execution) {
		return func(x executor.Execution) { x.Stop(grace) }
	}
	forever := "while :; do sleep 0.1; done"
	return []aCase{
		{name: "TERM ends a script", task: lines("echo ready", forever), stop: after(time.Minute), code: 143, class: executor.User, stdout: "ready\n", stderr: anything},
		{
			name: "TERM can be caught", task: lines("trap 'echo caught; exit 3' TERM", "echo ready", forever), stop: after(time.Minute),
			code: 3, class: executor.User, stdout: "ready\ncaught\n", stderr: anything,
		},
		{
			name: "TERM reaches what the script waits for", task: lines("echo ready", "sleep 1000"), stop: after(time.Minute),
			code: 143, class: executor.User, stdout: "ready\n", stderr: anything,
		},
		{
			name: "KILL after the grace", task: lines("trap '' TERM", "echo ready", forever), stop: after(300 * time.Millisecond),
			code: 137, class: executor.User, stdout: "ready\n", stderr: anything,
		},
		{name: "KILL at once", task: lines("trap '' TERM", "echo ready", forever), stop: after(0), code: 137, class: executor.User, stdout: "ready\n", stderr: anything},
		{
			name: "KILL before the grace is over", task: lines("trap '' TERM", "echo ready", forever), code: 137, class: executor.User, stdout: "ready\n", stderr: anything,
			stop: func(x executor.Execution) { x.Stop(time.Hour); x.Stop(0) },
		},
		{
			name: "after_script after TERM", task: executor.Task{Script: []string{"echo ready", forever}, After: []string{"echo after"}}, stop: after(time.Minute),
			code: 143, class: executor.User, stdout: "ready\nafter\n", stderr: anything,
		},
		{
			name: "after_script when the grace is over", task: executor.Task{Script: []string{"trap '' TERM", "echo ready", forever}, After: []string{"echo after"}},
			stop: after(300 * time.Millisecond), code: 137, class: executor.User, stdout: "ready\nafter\n", stderr: anything,
		},
		{
			name: "no after_script after KILL at once", task: executor.Task{Script: []string{"trap '' TERM", "echo ready", forever}, After: []string{"echo after"}},
			stop: after(0), code: 137, class: executor.User, stdout: "ready\n", stderr: anything,
		},
	}
}

func (s Subject) outOfMemory(t *testing.T) {
	if !s.LimitsMemory {
		t.Skip("memory cannot be limited here")
	}
	task := lines(`x=$(head -c 300000000 /dev/zero | tr '\0' x)`, "echo no")
	task.MemoryBytes = 64 << 20
	r := s.Execute(t, task, nil)
	if r.End.Class != executor.OOM || r.End.ExitCode == 0 || r.Stdout != "" {
		t.Errorf("%+v, printed %q", r.End, r.Stdout)
	}
}

func (s Subject) stoppedBeforeItBegan(t *testing.T) {
	out := newRecorder()
	x := s.Executor.Prepare(s.complete(lines("echo no")), out)
	defer x.Close()
	x.Stop(time.Second)
	if err := x.Create(); err == nil {
		x.Start()
	}
	if end := x.Wait(); end.Class == executor.None || out.stdout.Len() > 0 {
		t.Errorf("%+v, printed %q", end, out.stdout.String())
	}
}

// twentyAtOnce runs tasks of which none ends before all have begun.
func (s Subject) twentyAtOnce(t *testing.T) {
	const many = 20
	script := lines("trap 'go=1' TERM", "echo ready", "while [ -z \"$go\" ]; do sleep 1 || :; done 2>/dev/null", "echo number $I", "echo n=$I >$FORMICARY_OUTPUT")
	var all, begun sync.WaitGroup
	begun.Add(many)
	for i := range many {
		all.Go(func() {
			task := script
			task.Environment = map[string]string{"I": fmt.Sprint(i)}
			r := s.Execute(t, task, func(x executor.Execution) {
				begun.Done()
				begun.Wait()
				x.Stop(time.Minute)
			})
			if want := fmt.Sprintf("ready\nnumber %d\n", i); r.End.Class != executor.None || r.Stdout != want || r.End.Outputs["n"] != fmt.Sprint(i) {
				t.Errorf("%d: %+v, printed %q", i, r.End, r.Stdout)
			}
		})
	}
	all.Wait()
}

// Flood is the variable that asks for 1 GiB of output instead of 64 MiB.
const Flood = "FORMICARY_FLOOD"

// flood prints more than anybody keeps: nothing is lost, and nothing grows.
func (s Subject) flood(t *testing.T) {
	size := int64(64 << 20)
	if os.Getenv(Flood) != "" {
		size = 1 << 30
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	line := strings.Repeat("0123456789abcdef", 64)[1:] // an engine takes its time for each
	out := &flood{want: bytes.Repeat([]byte(line+"\n"), 64)}
	x := s.Executor.Prepare(s.complete(lines(fmt.Sprintf("yes %s | head -c %d", line, size))), out)
	defer x.Close()
	if err := x.Create(); err == nil {
		x.Start()
	}
	end := x.Wait()
	runtime.ReadMemStats(&after)
	if end.Class != executor.None || out.n != size || out.wrong != "" {
		t.Errorf("%+v; %d bytes of %d, wrong %s", end, out.n, size, out.wrong)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > mostGrown {
		t.Errorf("grown by %d bytes", grown)
	}
}

const mostGrown = 48 << 20
