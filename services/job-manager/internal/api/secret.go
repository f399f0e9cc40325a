package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/config"
)

type secrets struct {
	jobv1.UnsafeSecretServiceServer
	manager *config.Manager
}

func (s *secrets) ListSecrets(ctx context.Context, req *jobv1.ListSecretsRequest) (*jobv1.ListSecretsResponse, error) {
	entries, next, err := listEntries(ctx, s.manager, "secrets", req, true)
	if err != nil {
		return nil, err
	}
	res := &jobv1.ListSecretsResponse{Secrets: make([]*jobv1.Secret, len(entries)), NextPageToken: next}
	for i := range entries {
		res.Secrets[i] = fromSecret(&entries[i])
	}
	return res, nil
}

func (s *secrets) GetSecret(ctx context.Context, req *jobv1.GetSecretRequest) (*jobv1.GetSecretResponse, error) {
	scope, err := toScope(ctx, req.GetScope(), look)
	if err != nil {
		return nil, err
	}
	e, versions, err := s.manager.Secret(ctx, scope, req.GetName())
	if err != nil {
		return nil, err
	}
	res := &jobv1.GetSecretResponse{Secret: fromSecret(&e)}
	for _, v := range versions {
		res.Versions = append(res.Versions, &jobv1.SecretVersion{
			Version: int32(v.Version), CreatedAt: timestamppb.New(v.CreatedAt), CreatedBy: v.CreatedBy, KeyId: v.KeyID,
		})
	}
	return res, nil
}

func (s *secrets) SetSecret(ctx context.Context, req *jobv1.SetSecretRequest) (*jobv1.SetSecretResponse, error) {
	caller := access.From(ctx)
	scope, err := toScope(ctx, req.GetScope(), change)
	if err != nil {
		return nil, err
	}
	e, err := s.manager.SetSecret(ctx, config.Entry{
		Scope: scope, Name: req.GetName(), Description: req.GetDescription(), UpdatedBy: caller.User,
	}, req.GetValue(), req.GetEtag())
	if err != nil {
		return nil, err
	}
	return &jobv1.SetSecretResponse{Secret: fromSecret(&e)}, nil
}

func (s *secrets) RevealSecret(ctx context.Context, req *jobv1.RevealSecretRequest) (*jobv1.RevealSecretResponse, error) {
	scope, err := toScope(ctx, req.GetScope(), change)
	if err != nil {
		return nil, err
	}
	value, version, err := s.manager.Reveal(ctx, scope, req.GetName(), int(req.GetVersion()))
	if err != nil {
		return nil, err
	}
	return &jobv1.RevealSecretResponse{Value: value, Version: int32(version)}, nil
}

func (s *secrets) DeleteSecret(ctx context.Context, req *jobv1.DeleteSecretRequest) (*jobv1.DeleteSecretResponse, error) {
	scope, err := toScope(ctx, req.GetScope(), change)
	if err != nil {
		return nil, err
	}
	if err := s.manager.Delete(ctx, scope, req.GetName(), true, req.GetEtag()); err != nil {
		return nil, err
	}
	return &jobv1.DeleteSecretResponse{}, nil
}

func fromSecret(e *config.Entry) *jobv1.Secret {
	return &jobv1.Secret{
		Scope: fromScope(e.Scope), Name: e.Name, Version: int32(e.Version), Description: e.Description, Etag: e.Etag(),
		CreatedAt: timestamppb.New(e.CreatedAt), UpdatedAt: timestamppb.New(e.UpdatedAt), UpdatedBy: e.UpdatedBy,
	}
}

func (s *secrets) GetKeyRing(ctx context.Context, _ *jobv1.GetKeyRingRequest) (*jobv1.GetKeyRingResponse, error) {
	ring, err := s.manager.Ring(ctx)
	if err != nil {
		return nil, err
	}
	res := &jobv1.GetKeyRingResponse{PrimaryKeyId: ring.Primary, RewrapsLeft: ring.Left}
	for _, k := range ring.Keys {
		res.Keys = append(res.Keys, &jobv1.RingKey{KeyId: k.ID, DataKeys: k.Sealed, Missing: k.Missing})
	}
	return res, nil
}

func (s *secrets) RotateKeyRing(ctx context.Context, _ *jobv1.RotateKeyRingRequest) (*jobv1.RotateKeyRingResponse, error) {
	ring, err := s.manager.Rotate(ctx)
	if err != nil {
		return nil, err
	}
	return &jobv1.RotateKeyRingResponse{PrimaryKeyId: ring.Primary, RewrapsLeft: ring.Left}, nil
}

func (s *secrets) ResolveSecrets(ctx context.Context, req *jobv1.ResolveSecretsRequest) (*jobv1.ResolveSecretsResponse, error) {
	queries := make([]config.Query, len(req.GetQueries()))
	for i, q := range req.GetQueries() {
		queries[i] = config.Query{Org: q.GetOrgId(), JobType: q.GetJobType(), User: q.GetUser(), Names: q.GetNames()}
		if q.GetRequestId() == "" {
			continue
		}
		id, err := uuid.Parse(q.GetRequestId())
		if err != nil {
			return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", q.GetRequestId())
		}
		queries[i].Request = id
	}
	answers, err := s.manager.Resolve(ctx, queries)
	if err != nil {
		return nil, err
	}
	res := &jobv1.ResolveSecretsResponse{Answers: make([]*jobv1.SecretAnswer, len(answers))}
	for i, a := range answers {
		res.Answers[i] = fromAnswer(a)
	}
	return res, nil
}

func fromAnswer(a config.Answer) *jobv1.SecretAnswer {
	out := &jobv1.SecretAnswer{}
	for _, v := range a.Secrets {
		s := &jobv1.SecretValue{Name: v.Name, Value: v.Value, Version: int32(v.Version)}
		if v.Scope != nil {
			s.Scope = fromScope(*v.Scope)
		}
		out.Values = append(out.Values, s)
	}
	for _, f := range a.Faults {
		code := errs.CodeOf(f.Err)
		fault := &jobv1.SecretFault{Name: f.Name, Reason: errs.Reason(f.Err), Message: f.Err.Error(), Passing: code == errs.CodeUnavailable || code == errs.CodeUnknown}
		if code == errs.CodeUnknown { // the chain is for the log
			fault.Reason, fault.Message = "SECRET_UNREADABLE", "the secret "+f.Name+" cannot be read now"
		}
		out.Faults = append(out.Faults, fault)
	}
	return out
}
