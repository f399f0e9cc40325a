package ant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/attempt"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

const (
	executorsSubject = "formicary.executors."
	executorsTime    = 7 * time.Second
	listTime         = 2 * time.Second // of one executor: who asks waits for 3 s, and is told what does not answer
)

// answer tells, on the bus, what runs on this host, and ends it where that is asked for.
func (s *Service) answer(life context.Context, executors []executor.Executor, attempts *attempt.Manager) (*nats.Subscription, error) {
	sub, err := s.deps.NATS.Subscribe(executorsSubject+s.conf.ID, func(m *nats.Msg) {
		var call antv1.ExecutorCall
		report := &antv1.ExecutorReport{}
		err := proto.Unmarshal(m.Data, &call)
		if err == nil {
			ctx, cancel := context.WithTimeout(life, executorsTime)
			report.Executors, err = s.leftOn(ctx, executors, attempts, call.GetRemove())
			cancel()
		}
		if err != nil {
			report.Fault = err.Error()
		}
		data, err := proto.Marshal(report)
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			s.deps.Log.Warn("nobody was told what runs here", "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to questions about executors: %w", err)
	}
	return sub, nil
}

// leftOn lists what runs here, or ends what runs of one attempt. An attempt that lives is stopped as any is: what it has
// printed is kept.
func (s *Service) leftOn(ctx context.Context, executors []executor.Executor, attempts *attempt.Manager, remove string) (all []*antv1.RunningExecutor, err error) {
	for _, e := range executors {
		lister, ok := e.(executor.Lister)
		if !ok {
			continue
		}
		listing, cancel := context.WithTimeout(ctx, listTime)
		running, failed := lister.List(listing)
		cancel()
		if s.offers(e) { // else what it asks need not be there
			err = errors.Join(err, failed)
		}
		running = slices.DeleteFunc(running, func(r executor.Running) bool { return remove != "" && r.UID != remove })
		for _, r := range running {
			all = append(all, &antv1.RunningExecutor{
				Uid: r.UID, Method: e.Methods()[0], HostId: r.ID, StartedAt: timestamppb.New(r.Since), Work: attempts.Work(r.UID),
			})
		}
		if remove == "" || len(running) == 0 || attempts.End(remove, "its executor was ended by an operator") {
			continue
		}
		s.deps.Log.Info("what was left is ended by an operator", "attempt", remove)
		err = errors.Join(err, lister.Remove(ctx, remove))
	}
	return all, err
}
