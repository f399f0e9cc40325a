package peer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/secret"
)

// Secrets are those that job-manager keeps.
type Secrets struct{ client jobv1.SecretServiceClient }

// NewSecrets uses the connection.
func NewSecrets(conn grpc.ClientConnInterface) *Secrets {
	return &Secrets{jobv1.NewSecretServiceClient(conn)}
}

// secretTime bounds a call: a claim, whose attempts wait for it, has a few seconds.
const secretTime = 4 * time.Second

// Resolve answers queries in their order.
func (s *Secrets) Resolve(ctx context.Context, queries []secret.Query) ([]secret.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	req := &jobv1.ResolveSecretsRequest{Queries: make([]*jobv1.SecretQuery, len(queries))}
	for i, q := range queries {
		req.Queries[i] = &jobv1.SecretQuery{OrgId: q.Org, JobType: q.JobType, User: q.User, RequestId: q.Request, Names: q.Names}
	}
	res, err := s.client.ResolveSecrets(ctx, req)
	if status.Code(err) == codes.Unimplemented {
		return noSecrets(queries), nil
	}
	if err != nil {
		return nil, fmt.Errorf("resolve secrets of %d tasks: %w", len(queries), err)
	}
	if len(res.GetAnswers()) != len(queries) {
		return nil, fmt.Errorf("resolve secrets of %d tasks: %d answers", len(queries), len(res.GetAnswers()))
	}
	out := make([]secret.Answer, len(queries))
	for i, a := range res.GetAnswers() {
		out[i].Values = make(map[string]secret.Value, len(a.GetValues()))
		for _, v := range a.GetValues() {
			out[i].Values[v.GetName()] = secret.Value(v.GetValue())
		}
		for _, f := range a.GetFaults() {
			out[i].Faults = append(out[i].Faults, secret.Fault{Name: f.GetName(), Reason: f.GetReason(), Message: f.GetMessage(), Passing: f.GetPassing()})
		}
	}
	return out, nil
}

// noSecrets is the answer of a job-manager that keeps none: waiting for it would not help.
func noSecrets(queries []secret.Query) []secret.Answer {
	out := make([]secret.Answer, len(queries))
	for i, q := range queries {
		for _, name := range q.Names {
			out[i].Faults = append(out[i].Faults, secret.Fault{Name: name, Reason: "SECRETS_UNSUPPORTED", Message: "this job-manager keeps no secrets"})
		}
	}
	return out
}
