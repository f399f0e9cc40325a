package supervisor_test

import (
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/jobspec/plan"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// What a program prints never keeps its end from being recorded, whoever made the ant that reports it.
func TestResultsThatAreNoText(t *testing.T) {
	t.Parallel()
	const bad, good = "fail \x00 \xff\xfe here", "fail \uFFFD \uFFFD here"
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(*antv1.Work) *antv1.Result { return nil })
	send := func(name string, outcome antv1.Result_Outcome) {
		raw, err := proto.Marshal(&antv1.Result{Uid: a.live(name), AntId: a.id, Session: a.session, Outcome: outcome, ExitCode: 3})
		if err != nil {
			t.Fatal(err)
		}
		text := func(number protowire.Number, s string) {
			raw = protowire.AppendString(protowire.AppendTag(raw, number, protowire.BytesType), s)
		}
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "k\x00")
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), bad)
		for _, number := range []protowire.Number{6, 7, 9, 10, 12} {
			text(number, bad)
		}
		text(8, string(entry))
		if _, err := w.js.PublishMsgAsync(&nats.Msg{Subject: "formicary.result.0", Data: raw}); err != nil {
			t.Fatal(err)
		}
	}
	f := task("a", "")
	f.Routes = []plan.Route{{Key: "3", Targets: []string{"b"}}}
	id := w.admit(planOf(f, task("b")))
	send("a", antv1.Result_FAILED)
	w.taskBecomes(id, "a", executionv1.Task_FAILED)
	send("b", antv1.Result_SUCCEEDED)
	w.taskBecomes(id, "b", executionv1.Task_COMPLETED)
	all := w.tasks(id)
	if x := all["a"]; x.GetExitCode() != 3 || x.GetMessage() != good || x.GetResult() != good {
		t.Errorf("a ended with %d, %q, %q", x.GetExitCode(), x.GetMessage(), x.GetResult())
	}
	for k, v := range all["b"].GetOutputs().AsMap() {
		if k != "k\uFFFD" || v != good || !utf8.ValidString(k) {
			t.Errorf("output %q is %q", k, v)
		}
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	id = w.admit(planOf(task("c")))
	send("c", antv1.Result_FAILED)
	if e := w.becomes(id, executionv1.Execution_FAILED); e.GetErrorMessage() != `task "c" failed with code 3: `+good {
		t.Errorf("%q", e.GetErrorMessage())
	}
	var n int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM quarantine`).Scan(&n); err != nil || n > 0 {
		t.Errorf("%d are quarantined: %v", n, err)
	}
	w.settled()
}
