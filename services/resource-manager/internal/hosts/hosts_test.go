package hosts

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestAsk(t *testing.T) {
	nc, _ := testkit.NATS(t)
	answers := map[string]func(m *nats.Msg){
		"talks": func(m *nats.Msg) {
			data, _ := proto.Marshal(&antv1.ExecutorReport{Executors: []*antv1.RunningExecutor{{Uid: "u"}}})
			_ = m.Respond(data)
		},
		"stammers": func(m *nats.Msg) { _ = m.Respond([]byte("no report")) },
		"sleeps":   func(*nats.Msg) {},
	}
	for id, answer := range answers {
		if _, err := nc.Subscribe(subject+id, answer); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(limit time.Duration, ids ...string) []*antv1.ExecutorReport {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		reports, err := New(nc).Ask(ctx, ids, &antv1.ExecutorCall{})
		if err != nil || len(reports) != len(ids) {
			t.Fatal(reports, err)
		}
		return reports
	}
	got := ask(time.Hour, "gone", "talks", "stammers") // nobody is waited for
	if got[0].GetFault() == "" || got[1].GetFault() != "" || len(got[1].GetExecutors()) != 1 || got[2].GetFault() == "" {
		t.Errorf("%v", got)
	}
	if got := ask(300*time.Millisecond, "sleeps", "talks"); got[0].GetFault() == "" || len(got[1].GetExecutors()) != 1 {
		t.Errorf("%v", got)
	}
}
