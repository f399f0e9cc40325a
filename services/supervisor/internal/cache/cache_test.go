package cache_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// store has one cache, whose object may be gone.
type store struct {
	cache.Store
	cache.Blobs
	gone bool
	lost []uuid.UUID
}

func (s *store) CacheObject(context.Context, uuid.UUID, uuid.UUID) (string, error) { return "k", nil }

func (s *store) Has(context.Context, string) (bool, error) { return !s.gone, nil }

func (s *store) SignGet(context.Context, string, time.Duration) (*url.URL, error) {
	return &url.URL{Scheme: "http", Host: "s3"}, nil
}

func (s *store) LoseCache(_ context.Context, id uuid.UUID) error {
	s.lost = append(s.lost, id)
	return nil
}

// A cache whose object is lost is none, and keeps nothing from being stored under its key.
func TestALostObjectIsNoCache(t *testing.T) {
	s := &store{}
	m, err := cache.NewManager(cache.Config{}, s, s, func() {}, noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	if address, err := m.Sign(t.Context(), uuid.New(), id); err != nil || address != "http://s3" || len(s.lost) > 0 {
		t.Errorf("%s, %v, lost %v", address, err, s.lost)
	}
	s.gone = true
	if _, err := m.Sign(t.Context(), uuid.New(), id); errs.Reason(err) != "CACHE_NOT_FOUND" || len(s.lost) != 1 || s.lost[0] != id {
		t.Errorf("%v, lost %v", err, s.lost)
	}
}
