package cli

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestInert(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext\n":                      "plain\ttext\n",
		"\x1b]0;title\a":                     "^[]0;title^G",
		"\x1b[2J\x1b[31mred":                 "^[[2J\x1b[31mred\x1b[0m",
		"\x1b[1;38:5:9mx\x1b[0m \x1b[6n\x7f": "\x1b[1;38:5:9mx\x1b[0m ^[[6n^?\x1b[0m",
		"\u009b31m é ⛵":                      "\uFFFD31m é ⛵",
	} {
		if got := inert(text, true); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
	if got := inert("\x1b[31m", false); got != "^[[31m" {
		t.Errorf("without colours: %q", got)
	}
}

func TestTasksCannotSteerTheTerminal(t *testing.T) {
	a, out, errOut := testApp(nil)
	list := []*jobv1.JobRequest{{Id: "0198c2a4-7d3f-7abc-8000-000000000000", JobType: "build", ErrorMessage: "\x1b[2Jgone"}}
	if err := a.show(list[0], nil, func(w io.Writer) { requestTable(w, list) }); err != nil {
		t.Fatal(err)
	}
	s := &streamer{out: out, tails: map[attemptKey]*tail{}}
	w := &lineWriter{s: s, prefix: "task │ "}
	w.write([]byte("10%\r20%\r\n\x1b]0;evil\a\n"))
	w.flush()
	printf(errOut, "%s\n", taskLine(&jobv1.WatchEventsResponse{Task: "x", State: "FAILED", Message: "\x1bc"}))
	for _, b := range []*bytes.Buffer{out, errOut} {
		if bytes.ContainsAny(b.Bytes(), "\x1b\a\r") {
			t.Errorf("%q", b)
		}
	}
	if want := "task │ 10%\ntask │ 20%\ntask │ ^[]0;evil^G\n"; !bytes.HasSuffix(out.Bytes(), []byte(want)) {
		t.Errorf("%q, want %q at the end", out, want)
	}
}

func TestParametersAreAllShown(t *testing.T) {
	a, out, _ := testApp(nil)
	params, err := structpb.NewStruct(map[string]any{"b": "", "a": "0", "c": false})
	if err != nil {
		t.Fatal(err)
	}
	if err := tabulate(a.Out, func(w io.Writer) { requestFacts(w, &jobv1.JobRequest{Id: "x", Params: params}) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"param a:  0\n", "param b:", "param c:  false\n"} {
		if !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
