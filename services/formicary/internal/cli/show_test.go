package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/formicary/internal/up"
)

func testApp(env map[string]string) (*app, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return &app{Env: Env{Out: &out, Err: &err, Getenv: func(k string) string { return env[k] }}, output: "table"}, &out, &err
}

func TestFormats(t *testing.T) {
	r := &jobv1.JobRequest{Id: "0198c2a4-7d3f-7abc-8000-000000000000", JobType: "build", State: jobv1.JobRequest_COMPLETED, Description: "two\nlines"}
	for format, want := range map[string]string{
		"json": "{\n  \"id\": \"0198c2a4-7d3f-7abc-8000-000000000000\",\n  \"job_type\": \"build\",\n  \"state\": \"COMPLETED\",\n  \"description\": \"two\\nlines\"\n}\n",
		"yaml": "id: 0198c2a4-7d3f-7abc-8000-000000000000\njob_type: build\nstate: COMPLETED\ndescription: |-\n  two\n  lines\n",
		"name": "0198c2a4-7d3f-7abc-8000-000000000000\n",
	} {
		a, out, _ := testApp(nil)
		a.output = format
		if err := a.show(r, []string{r.GetId()}, nil); err != nil || out.String() != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", format, err, out, want)
		}
	}
}

func TestTableKeepsItsLines(t *testing.T) {
	a, out, _ := testApp(nil)
	list := []*jobv1.JobRequest{{Id: "0198c2a4-7d3f-7abc-8000-000000000000", JobType: "build", ErrorMessage: "first\nsecond\tthird"}}
	if err := a.show(list[0], nil, func(w io.Writer) { requestTable(w, list) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "0198c2a4-7d3f-7abc ") {
		t.Errorf("table:\n%s", out)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{errs.Invalid("DEFINITION_INVALID", "x").WithViolations(errs.Violation{Field: "job.yaml:1:2", Description: "bad"}), 2},
		{errs.NotFound("REQUEST_NOT_FOUND", "x"), 3},
		{errs.Denied("NO", "x"), 4},
		{errs.Precondition("REQUEST_STATE", "x"), 5},
		{errs.Conflict("SEM_VERSION_TAKEN", "x"), 5},
		{errs.Unavailable("", "x"), 6},
		{context.DeadlineExceeded, 6},
		{outcome(jobv1.JobRequest_COMPLETED), 0},
		{outcome(jobv1.JobRequest_SKIPPED), 0},
		{outcome(jobv1.JobRequest_FAILED), 1},
		{outcome(jobv1.JobRequest_CANCELLED), 7},
		{outcome(jobv1.JobRequest_PAUSED), 8},
		{&exit{code: exitDetached}, 130},
	} {
		a, _, _ := testApp(nil)
		if got := a.report(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestEveryFaultIsPrinted(t *testing.T) {
	a, _, stderr := testApp(nil)
	a.report(errs.Invalid("DEFINITION_INVALID", "2 faults").WithViolations(
		errs.Violation{Field: "job.yaml:3:5", Description: "unknown field", Reason: "UNKNOWN_FIELD"},
		errs.Violation{Field: "job.yaml:9:1", Description: "unknown task", Reason: "UNKNOWN_TASK"}))
	for _, want := range []string{"job.yaml:3:5: unknown field [UNKNOWN_FIELD]\n", "job.yaml:9:1: unknown task [UNKNOWN_TASK]\n"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is missing in\n%s", want, stderr)
		}
	}
}

func TestServerIsChosen(t *testing.T) {
	for _, c := range []struct {
		name, server string
		env          map[string]string
		grpc, why    string
	}{
		{"default", "", nil, "127.0.0.1:7778", "the default address"},
		{"flag", "127.0.0.1:9000", map[string]string{"FORMICARY_SERVER": "10.0.0.1:1"}, "127.0.0.1:9001", "--server"},
		{"url", "http://localhost:9000/", nil, "localhost:9001", "--server"},
		{"environment", "", map[string]string{"FORMICARY_SERVER": "127.0.0.1:8000"}, "127.0.0.1:8001", "FORMICARY_SERVER"},
		{"gRPC elsewhere", "127.0.0.1:9000", map[string]string{"FORMICARY_GRPC": "127.0.0.1:5"}, "127.0.0.1:5", "--server"},
	} {
		a, _, _ := testApp(c.env)
		a.server = c.server
		got, err := a.target()
		if err != nil || got.grpc != c.grpc || !strings.Contains(got.why, c.why) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	a, _, _ := testApp(nil)
	a.server = "nonsense"
	if _, err := a.target(); exitCode(err) != exitUsage {
		t.Errorf("nonsense: %v", err)
	}
}

func TestSilenceIsExplained(t *testing.T) {
	var out, stderr bytes.Buffer
	code := Run(t.Context(), Env{
		Args: []string{"request", "list", "--server", "127.0.0.1:1"}, Out: &out, Err: &stderr, Getenv: func(string) string { return "" },
	})
	for _, want := range []string{"127.0.0.1:2", "--server", "formicary up", "refused"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is missing in\n%s", want, stderr.String())
		}
	}
	if code != exitUnavailable {
		t.Errorf("exit code %d", code)
	}
}

func TestTheWayToACommandsHelpIsShown(t *testing.T) {
	var errOut bytes.Buffer
	code := Run(t.Context(), Env{Args: []string{"request", "get"}, Out: io.Discard, Err: &errOut, Getenv: func(string) string { return "" }})
	if code != exitUsage || !strings.Contains(errOut.String(), "'formicary request get --help'") {
		t.Errorf("%d %s", code, &errOut)
	}
}

func TestWelcomeNamesAServerThatAnswers(t *testing.T) {
	for grpc, want := range map[string]string{"127.0.0.1:7778": "run FILE --server 127.0.0.1:7777\n", "127.0.0.1:9": "run FILE --colony d/colony.json\n"} {
		a, _, errOut := testApp(nil)
		a.welcome(colony.Colony{HTTP: "127.0.0.1:7777", GRPC: grpc, DataDir: "d"}, up.DefaultConfig(), time.Second)
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("gRPC at %s: %s", grpc, errOut)
		}
	}
}

func TestARetriedTaskDoesNotTellOfTheAttemptBefore(t *testing.T) {
	for want, e := range map[string]*jobv1.WatchEventsResponse{
		"a FAILED: exit code 3":             {Task: "a", State: "FAILED", ExitCode: 3, Message: "exit code 3"},
		"a FAILED exit code 143: timed out": {Task: "a", State: "FAILED", ExitCode: 143, Message: "timed out"},
		"a DISPATCHED ant-1 attempt 2":      {Task: "a", State: "DISPATCHED", AntId: "ant-1", Attempt: 2, ExitCode: 3, Message: "exit code 3"},
	} {
		if got := taskLine(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAnInterruptedStartIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errOut bytes.Buffer
	code := Run(ctx, Env{Args: []string{"up", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, Out: io.Discard, Err: &errOut, Getenv: func(string) string { return "" }})
	if code != exitDetached || errOut.String() != "stopped before the colony was up\n" {
		t.Errorf("%d %q", code, &errOut)
	}
}

func TestUsageIsCheckedBeforeAnythingElse(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"request", "nonsense"},
		{"request", "get"},
		{"--nonsense"},
		{"request", "list", "-o", "xml"},
		{"run"},
		{"run", "/does/not/exist.yaml"},
		{"up", "--only=half"},
		{"up", "--listen", "0.0.0.0:7777"},
		{"request", "list", "--state", "LOST"},
		{"request", "submit", "x", "-p", "novalue"},
		{"request", "submit", "x", "--at", "tomorrow"},
		{"request", "restart", "x", "--hard", "--from", "a"},
		{"artifact", "upload", "no\xffname"},
	} {
		var out, stderr bytes.Buffer
		code := Run(t.Context(), Env{Args: args, Out: &out, Err: &stderr, Getenv: func(string) string { return "" }})
		if code != exitUsage || out.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out.String(), stderr.String())
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{"90m": "2026-11-24T13:30:00Z", "2026-12-01T06:00:00Z": "2026-12-01T06:00:00Z"} {
		got, err := moment(text, now)
		if err != nil || got.AsTime().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if got, err := moment("", now); got != nil || err != nil {
		t.Errorf("no time: %v, %v", got, err)
	}
}

func TestLinesArePrefixedWhole(t *testing.T) {
	var out bytes.Buffer
	s := &streamer{out: &out}
	w := &lineWriter{s: s, prefix: "build │ "}
	for _, piece := range []string{"one\ntw", "o\r\n", "\n", "rest"} {
		w.write([]byte(piece))
	}
	w.flush()
	if want := "build │ one\nbuild │ two\nbuild │ \nbuild │ rest\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	w.write(bytes.Repeat([]byte("x"), 3*longLine))
	if len(w.rest) >= longLine {
		t.Errorf("%d bytes of one line are held back", len(w.rest))
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{12345 * time.Microsecond: "12ms", 1234 * time.Millisecond: "1.2s", 75*time.Second + 300*time.Millisecond: "1m15s", -1: "0s"} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestFaultsNameTheUsersFile(t *testing.T) {
	a, _, errOut := testApp(nil)
	a.report(inFile(errs.Invalid("PARAMS_INVALID", "x").WithViolations(errs.Violation{Field: "job.yaml:5:22", Description: "the variable is not set"}), "a2.yaml"))
	if !strings.Contains(errOut.String(), "a2.yaml:5:22: the variable is not set") {
		t.Error(errOut)
	}
	if inFile(nil, "a2.yaml") != nil {
		t.Error("no fault became one")
	}
}

func TestACancelThatIsAskedForIsSeen(t *testing.T) {
	r := &jobv1.JobRequest{State: jobv1.JobRequest_EXECUTING, CancelRequestedAt: timestamppb.Now()}
	if got := remark(r); got != "cancel asked" {
		t.Errorf("%q", got)
	}
	if r.State = jobv1.JobRequest_CANCELLED; remark(r) != "" {
		t.Errorf("%q", remark(r))
	}
}
