package jobmanager

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/configpg"
)

// secrets are configs and secrets with what encrypts data keys again.
type secrets struct {
	manager *config.Manager
	rewrap  run.Signal // a key was rotated
	gauge   metric.Registration
}

func newSecrets(deps Deps) (*secrets, error) {
	s := &secrets{rewrap: run.NewSignal()}
	store := configpg.New(deps.Pool)
	o := config.Options{Keys: deps.Keys, Log: deps.Log}
	if deps.RotateKeys != nil {
		o.Rotate = func() error {
			defer s.rewrap.Set()
			return deps.RotateKeys()
		}
	}
	s.manager = config.NewManager(store, store, o)
	left, err := deps.Meter.Int64ObservableGauge("formicary_secret_rewraps_left",
		metric.WithDescription("Data keys of secrets that are not encrypted with the primary key of the ring yet."))
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	if s.gauge, err = deps.Meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(left, s.manager.RewrapsLeft())
		return nil
	}, left); err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	return s, nil
}

func (s *secrets) close() { _ = s.gauge.Unregister() }

// VerifySecrets opens a few secrets under each key of the ring, others for another salt, and returns what is wrong with those
// that do not open.
func VerifySecrets(ctx context.Context, pool *pgxpool.Pool, keys keyring.Keys, salt string, each int) ([]string, error) {
	return config.Verify(ctx, configpg.New(pool), keys, salt, each)
}
