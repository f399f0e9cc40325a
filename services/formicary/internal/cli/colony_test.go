package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/formicary/internal/up"
)

// shared is the colony that all tests of the package use; file is its colony.json.
var shared struct { //nolint:gochecknoglobals // one colony per test process
	dir, file string
}

func TestMain(m *testing.M) {
	code, err := withColony(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the colony of the tests:", err)
		code = 1
	}
	os.Exit(code)
}

// withColony runs f beside a colony.
func withColony(f func() int) (code int, err error) {
	if shared.dir, err = os.MkdirTemp("", "fcli-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(shared.dir)) }()
	if err := os.Chmod(shared.dir, 0o711); err != nil {
		return 1, err
	}
	log, err := logger(os.Stderr, "error", "text")
	if err != nil {
		return 1, err
	}
	conf := up.DefaultConfig()
	conf.DataDir, conf.Listen, conf.Throwaway, conf.Expose = filepath.Join(shared.dir, "data"), "127.0.0.1:0", true, true
	shared.file = filepath.Join(conf.DataDir, colonyFile)
	c, err := up.New(conf, log)
	if err != nil {
		return 1, err
	}
	// First start, stop, and the start that the tests use: what the first one stored must still be there.
	err, stop := during(context.Background(), c, func(colony.Colony) error {
		_, _, first := try(context.Background(), "run", write("first", "script: [\"true\"]"), "--colony", shared.file)
		if first != exitOK {
			return fmt.Errorf("the first job ended with %d", first)
		}
		return nil
	})
	if err = errors.Join(err, stop); err != nil {
		return 1, fmt.Errorf("first start: %w", err)
	}
	err, stop = during(context.Background(), c, func(colony.Colony) error {
		code = f()
		return nil
	})
	return code, errors.Join(err, stop)
}

// write stores a definition of one SHELL task and returns the file.
func write(jobType, task string) string {
	return writeText(jobType, fmt.Sprintf("job_type: %s\ntasks:\n  - task_type: only\n    method: SHELL\n    %s\n", jobType, task))
}

func writeText(jobType, text string) string {
	path := filepath.Join(shared.dir, jobType+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		panic(err) // a test's directory that cannot be written ends the test
	}
	return path
}

// try runs a command line.
func try(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errOut bytes.Buffer
	code = Run(ctx, Env{Args: args, Out: &out, Err: &errOut, Getenv: func(string) string { return "" }, Version: "test"})
	return out.String(), errOut.String(), code
}

// on runs a command line against the shared colony.
func on(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return try(t.Context(), append(args, "--colony", shared.file)...)
}

// must is on for commands that succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := on(t, args...)
	if code != exitOK {
		t.Fatalf("formicary %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// submit stores a job and returns the id of a request of it.
func submit(t *testing.T, file, jobType string, args ...string) string {
	t.Helper()
	must(t, "job", "apply", file)
	return strings.TrimSpace(must(t, append([]string{"request", "submit", jobType, "-o", "name"}, args...)...))
}

func TestRunPrintsStatesLogsAndResult(t *testing.T) {
	file := writeText("two", `job_type: two
required_params: [who]
tasks:
  - task_type: greet
    method: SHELL
    script: ["echo hello $who"]
    on_completed: done
  - task_type: done
    method: SHELL
    script: ["echo bye; echo no newline | tr -d '\\n'"]
`)
	stdout, stderr, code := on(t, "run", file, "-p", "who=you")
	if code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, want := range []string{"greet │ hello you\n", "done │ bye\n", "done │ no newline\n", "TASK ", "two COMPLETED"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing on stdout:\n%s", want, stdout)
		}
	}
	for _, want := range []string{" greet RUNNING ant-1\n", " job two COMPLETED\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing on stderr:\n%s", want, stderr)
		}
	}
	stdout, stderr, code = on(t, "run", file, "-p", "who=you", "--quiet")
	if code != exitOK || stderr != "" || stdout != "greet │ hello you\ndone │ bye\ndone │ no newline\n" {
		t.Errorf("--quiet: exit code %d\n%s%s", code, stdout, stderr)
	}
	stdout, _, _ = on(t, "run", file, "-p", "who=you", "-o", "json")
	var doc struct {
		Request struct{ State string }
		Tasks   []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || doc.Request.State != "COMPLETED" || len(doc.Tasks) != 2 || doc.Tasks[0].Name != "greet" {
		t.Errorf("-o json: %v\n%s", err, stdout)
	}
}

// A task may print faster than a live log is sent; what run prints is whole all the same, and in its order.
func TestRunLosesNothingOfALoudTask(t *testing.T) {
	const last = 1_000_000
	file := write("loud", fmt.Sprintf(`script: ["seq %d", "sleep 0.3", "echo end"]`, last))
	stdout, stderr, code := on(t, "run", file, "--quiet")
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	n := 0
	for line := range strings.Lines(stdout) {
		if n++; n <= last && line != fmt.Sprintf("only │ %d\n", n) || n == last+1 && line != "only │ end\n" {
			t.Fatalf("line %d is %q", n, line)
		}
	}
	if n != last+1 {
		t.Errorf("%d lines, want %d", n, last+1)
	}
}

func TestExitCodeIsTheOutcome(t *testing.T) {
	if stdout, _, code := on(t, "run", write("fails", "script: [\"echo broken >&2\", \"exit 3\"]")); code != exitFailed || !strings.Contains(stdout, "FAILED") {
		t.Errorf("failing job: exit code %d\n%s", code, stdout)
	}
	bad := writeText("bad", "job_type: bad\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [x]\n    on_completed: nowhere\n  - task_type: a\n    nonsense: 1\n")
	_, stderr, code := on(t, "run", bad)
	if code != exitUsage || strings.Count(stderr, "bad.yaml:") < 3 || !strings.Contains(stderr, "bad.yaml:6:") {
		t.Errorf("invalid YAML: exit code %d\n%s", code, stderr)
	}
	if _, _, code := on(t, "job", "get", "bad"); code != exitNotFound {
		t.Errorf("something of an invalid definition was stored: exit code %d", code)
	}
	if _, _, code := on(t, "request", "get", "00000000-0000-7000-8000-000000000000"); code != exitNotFound {
		t.Errorf("unknown request: exit code %d", code)
	}
}

func TestCancelledRequestExitsWithSeven(t *testing.T) {
	id := submit(t, write("long", "script: [\"sleep 60\"]"), "long")
	testkit.Eventually(t, 20*time.Second, "it runs", func() bool {
		return strings.Contains(must(t, "request", "get", id), "RUNNING")
	})
	if _, _, code := on(t, "request", "wait", id, "--timeout", "100ms"); code != exitRunning {
		t.Errorf("waiting for a moment: exit code %d", code)
	}
	ctx, detach := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, detach)
	if _, stderr, code := try(ctx, "request", "watch", id, "--colony", shared.file); code != exitDetached || !strings.Contains(stderr, "request watch "+short(id)) {
		t.Errorf("detached: exit code %d\n%s", code, stderr)
	}
	must(t, "request", "cancel", short(id), "--reason", "a test")
	if _, _, code := on(t, "request", "watch", id); code != exitCancelled {
		t.Errorf("cancelled: exit code %d", code)
	}
	if _, _, code := on(t, "request", "pause", id); code != exitConflict {
		t.Errorf("pausing an ended request: exit code %d", code)
	}
}

func TestExplainNamesTheHolder(t *testing.T) {
	file := writeText("single", "job_type: single\nmax_concurrency: 1\ntasks:\n  - task_type: only\n    method: SHELL\n    script: [\"sleep 60\"]\n")
	holder := submit(t, file, "single")
	waiter := submit(t, file, "single")
	testkit.Eventually(t, 20*time.Second, "the holder is named", func() bool {
		text := must(t, "request", "explain", waiter)
		return strings.Contains(text, "concurrency") && strings.Contains(text, holder)
	})
	must(t, "request", "cancel", waiter)
	must(t, "request", "cancel", holder)
}

func TestExplainSaysThatNoAntFits(t *testing.T) {
	id := submit(t, write("gpu", "tags: [gpu]\n    script: [\"true\"]"), "gpu")
	testkit.Eventually(t, 20*time.Second, "the missing tag is named", func() bool {
		text := must(t, "request", "explain", id)
		return strings.Contains(text, "no_ant") && strings.Contains(text, "gpu")
	})
	must(t, "request", "cancel", id)
}

func TestSecondStartKnowsTheRun(t *testing.T) {
	stdout := must(t, "request", "list", "--job", "first")
	if !strings.Contains(stdout, "COMPLETED") {
		t.Errorf("the run before the restart is gone:\n%s", stdout)
	}
}

func TestDefinitionsAreKept(t *testing.T) {
	file := write("kept", "script: [\"true\"]")
	if got := must(t, "job", "apply", file); !strings.Contains(got, "stored as version 1") {
		t.Errorf("apply: %s", got)
	}
	if got := must(t, "job", "apply", file); !strings.Contains(got, "already") {
		t.Errorf("apply again: %s", got)
	}
	raw, err := os.ReadFile(file)
	if got := must(t, "job", "get", "kept"); err != nil || got != string(raw) {
		t.Errorf("get: %v\n%s", err, got)
	}
	if got := must(t, "job", "disable", "kept"); !strings.Contains(got, "disabled") {
		t.Errorf("disable: %s", got)
	}
	must(t, "job", "enable", "kept")
	if got := must(t, "job", "versions", "kept", "-o", "name"); got != "kept@1\n" {
		t.Errorf("versions: %s", got)
	}
	must(t, "job", "delete", "kept")
	if _, _, code := on(t, "job", "get", "kept"); code != exitNotFound {
		t.Errorf("deleted: exit code %d", code)
	}
}

func TestLogsAndRestart(t *testing.T) {
	id := submit(t, write("noisy", "script: [\"echo one\", \"exit 1\"]"), "noisy")
	if _, _, code := on(t, "request", "wait", id); code != exitFailed {
		t.Fatalf("exit code %d", code)
	}
	if got := must(t, "request", "logs", id, "only"); got != "one\n" {
		t.Errorf("log of a task: %q", got)
	}
	if got := must(t, "request", "logs", "@failed"); !strings.Contains(got, "│") {
		t.Errorf("logs of all tasks: %q", got)
	}
	must(t, "request", "restart", id)
	if _, _, code := on(t, "request", "wait", id); code != exitFailed {
		t.Fatalf("after the restart: exit code %d", code)
	}
	if got := must(t, "request", "get", id, "-o", "json"); !strings.Contains(got, `"run": 2`) {
		t.Errorf("no second run:\n%s", got)
	}
}

func TestAntsAreListedAndDrained(t *testing.T) {
	if got := must(t, "ant", "list"); !strings.Contains(got, "ant-1") || !strings.Contains(got, "ONLINE") {
		t.Errorf("ants:\n%s", got)
	}
	must(t, "ant", "drain", "ant-1")
	if got := must(t, "ant", "get", "ant-1"); !strings.Contains(got, "DRAINING") {
		t.Errorf("drained:\n%s", got)
	}
	if got := must(t, "ant", "resume", "ant-1"); !strings.Contains(got, "ONLINE") {
		t.Errorf("resumed:\n%s", got)
	}
}

func TestDoctorSaysReady(t *testing.T) {
	if stdout, stderr, code := on(t, "doctor", "--quiet"); code != exitOK || stdout+stderr != "" {
		t.Errorf("--quiet: exit code %d, %s%s", code, stdout, stderr)
	}
	if got := must(t, "doctor"); !strings.Contains(got, "PostgreSQL") || !strings.Contains(got, "leading: true") {
		t.Errorf("doctor:\n%s", got)
	}
	if _, _, code := try(t.Context(), "doctor", "--quiet", "--colony", "/does/not/exist"); code == exitOK {
		t.Error("a colony that is not there is ready")
	}
}

func TestSecondColonyIsRefused(t *testing.T) {
	_, stderr, code := try(t.Context(), "up", "--data", filepath.Dir(shared.file), "--listen", "127.0.0.1:0")
	if code == exitOK || !strings.Contains(stderr, "in use") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestAuditFindsWhatIsInjected(t *testing.T) {
	id := submit(t, write("audited", "script: [\"true\"]"), "audited")
	if _, _, code := on(t, "request", "wait", id); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if got := must(t, "audit"); !strings.HasPrefix(got, "clean: ") {
		t.Fatalf("audit:\n%s", got)
	}
	col, err := colony.Load(shared.file, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	alter := func(org string) {
		conn, err := pgx.Connect(t.Context(), col.Postgres["supervisor"])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		if _, err := conn.Exec(t.Context(), "SET app.org = '*'"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "UPDATE execution.execution SET org_id = $1 WHERE request_id = $2", org, id); err != nil {
			t.Fatal(err)
		}
	}
	alter("other")
	stdout, _, code := on(t, "audit")
	if code != exitFailed || !strings.Contains(stdout, "VIOLATION same_org: ") || !strings.Contains(stdout, id) {
		t.Errorf("injected fault: exit code %d\n%s", code, stdout)
	}
	stdout, _, code = on(t, "audit", "-o", "json")
	if code != exitFailed || !json.Valid([]byte(stdout)) {
		t.Errorf("-o json: exit code %d\n%s", code, stdout)
	}
	alter("default")
}

func TestEmbeddedRunNeedsNoServer(t *testing.T) {
	stdout, stderr, code := try(t.Context(), "run", write("alone", "script: [\"echo here\"]"))
	if code != exitOK || !strings.Contains(stdout, "only │ here\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	file := filepath.Join(shared.dir, "began")
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if _, err := os.Stat(file); err == nil {
				interrupt()
			}
			<-tick.C
		}
	}()
	stdout, stderr, code = try(ctx, "run", write("endless", "script: [\"touch "+file+"\", \"sleep 60\"]"))
	if code != exitCancelled || !strings.Contains(stderr, "CANCELLED") {
		t.Errorf("interrupted: exit code %d\n%s%s", code, stdout, stderr)
	}
}
