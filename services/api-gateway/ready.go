package apigateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const healthTime = 2 * time.Second

// Ready says whether NATS and every service answer.
func (s *Service) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	checks := []func() error{func() error {
		if !s.deps.NATS.IsConnected() {
			return errors.New("nats: not connected")
		}
		return nil
	}}
	for name, peer := range map[string]grpc.ClientConnInterface{
		"job-manager": s.deps.JobManager, "resource-manager": s.deps.ResourceManager, "scheduler": s.deps.Scheduler, "supervisor": s.deps.Supervisor,
	} {
		checks = append(checks, func() error { return healthy(ctx, name, peer) })
	}
	faults := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { faults[i] = check() })
	}
	wg.Wait()
	return errors.Join(faults...)
}

func healthy(ctx context.Context, name string, peer grpc.ClientConnInterface) error {
	res, err := grpc_health_v1.NewHealthClient(peer).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", name, err)
	}
	if res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s is %s", name, res.GetStatus())
	}
	return nil
}
