package rpc

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Serve answers on lis until ctx ends; calls under way then get grace to finish.
func Serve(ctx context.Context, s *grpc.Server, lis net.Listener, grace time.Duration) error {
	ended := make(chan error, 1)
	go func() {
		err := s.Serve(lis)
		if errors.Is(err, grpc.ErrServerStopped) && ctx.Err() != nil {
			err = nil // the end came before the beginning
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	force := time.AfterFunc(grace, s.Stop)
	defer force.Stop()
	s.GracefulStop()
	return <-ended
}
