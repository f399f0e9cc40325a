package peer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

// Revoked asks which ants were shut out, and when.
func Revoked(conn grpc.ClientConnInterface) func(context.Context) (map[string]time.Time, error) {
	ants := resourcev1.NewAntIdentityServiceClient(conn)
	return func(ctx context.Context) (map[string]time.Time, error) {
		res, err := ants.ListRevokedAnts(ctx, &resourcev1.ListRevokedAntsRequest{})
		if err != nil {
			return nil, fmt.Errorf("ask which ants were shut out: %w", err)
		}
		out := make(map[string]time.Time, len(res.GetAnts()))
		for _, a := range res.GetAnts() {
			out[a.GetAntId()] = a.GetBefore().AsTime()
		}
		return out, nil
	}
}
