package events

import (
	"context"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestAReplicaHearsOfTheOthers: a hint reaches every replica but the one that gives it.
func TestAReplicaHearsOfTheOthers(t *testing.T) {
	nc, _ := testkit.NATS(t)
	heard := [2]run.Signal{run.NewSignal(), run.NewSignal()}
	var all [2]*Hints
	for i := range all {
		all[i] = NewHints(nc)
		all[i].AntChanged, all[i].OthersWait = func() {}, heard[i].Set
		testkit.Run(t, func(ctx context.Context) error { return all[i].Run(ctx) })
	}
	testkit.Eventually(t, 10*time.Second, "both listen", func() bool { return nc.NumSubscriptions() >= 4 })
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	all[0].ClassesWait()
	select {
	case <-heard[1].C():
	case <-time.After(10 * time.Second):
		t.Fatal("the other replica heard nothing")
	}
	all[1].ClassesWait()
	select {
	case <-heard[0].C(): // its own came before that of the other
	case <-time.After(10 * time.Second):
		t.Fatal("the first replica heard nothing")
	}
	select {
	case <-heard[1].C():
		t.Error("a replica heard itself")
	default:
	}
}
