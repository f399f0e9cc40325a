// Package cache keeps files that tasks leave for later runs of their jobs: under a key, within an organisation and a job type,
// and never changed. A row means that its object is whole. What is used least is deleted first when an organisation has more
// than its quota.
package cache

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Config of caches.
type Config struct {
	// Quota is how many bytes the caches of one organisation may have, and so the most that one may have.
	Quota int64
	// Age is how long a cache is kept when its task does not say it.
	Age time.Duration
}

// DefaultConfig returns 10 GiB and 30 days.
func DefaultConfig() Config { return Config{Quota: 10 << 30, Age: 30 * 24 * time.Hour} }

// Validate reports every fault.
func (c Config) Validate() error {
	if c.Quota < 1 || c.Age <= 0 {
		return fmt.Errorf("quota of caches is %d and their age %s, want more than 0", c.Quota, c.Age)
	}
	return nil
}

// Cache is the files of one key.
type Cache struct {
	ID        uuid.UUID
	Org       string
	JobType   string
	Key       string
	Request   uuid.UUID // that stored it
	Task      string
	Object    string
	Bytes     int64
	RawBytes  int64
	Files     int
	SHA256    string
	RunMillis int64 // of the task that finds nothing
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time
	Uses      int64
}

// Filter says which to list.
type Filter struct {
	Org, JobType, KeyPrefix string
	Before                  time.Time // with BeforeID the last of the page before
	BeforeID                uuid.UUID
	Limit                   int
}

// Store keeps the rows. The organisation and the job type are those of the attempt.
type Store interface {
	// FindCache returns the cache of a key, and when there is none the newest whose key begins with the first prefix that any
	// begins with; nil when there is none either. It counts as used.
	FindCache(ctx context.Context, attempt uuid.UUID, key string, prefixes []string) (*Cache, error)
	// HasCache says whether something is kept under a key.
	HasCache(ctx context.Context, attempt uuid.UUID, key string) (bool, error)
	// CacheObject returns the object of a cache that the attempt may read; an error with the reason CACHE_NOT_FOUND where there
	// is none.
	CacheObject(ctx context.Context, attempt, id uuid.UUID) (string, error)
	// KeepCache makes a cache of a complete upload; it says whether it did, and not another one of this key.
	KeepCache(ctx context.Context, attempt, upload uuid.UUID, c *Cache, age time.Duration) (bool, error)
	// LoseCache forgets a cache whose object is not there.
	LoseCache(ctx context.Context, id uuid.UUID) error
	BeginUpload(ctx context.Context, u *artifact.Upload) error
	UploadOf(ctx context.Context, id, attempt uuid.UUID) (*artifact.Upload, error)
}

// Blobs keeps the objects.
type Blobs interface {
	BeginParts(ctx context.Context, key string) (storeID string, err error)
	SignGet(ctx context.Context, key string, valid time.Duration) (*url.URL, error)
	Has(ctx context.Context, key string) (bool, error)
}

// valid is how long an address is.
const valid = 15 * time.Minute

// Manager serves ants.
type Manager struct {
	conf  Config
	store Store
	blobs Blobs
	kept  func() // the quota may be passed
	finds metric.Int64Counter
	keeps metric.Int64Counter
}

// NewManager returns a manager. It calls kept when there is a cache more.
func NewManager(conf Config, store Store, blobs Blobs, kept func(), meter metric.Meter) (*Manager, error) {
	m := &Manager{conf: conf, store: store, blobs: blobs, kept: kept}
	var err error
	if m.finds, err = meter.Int64Counter("formicary_cache_finds", metric.WithDescription("caches that attempts looked for, by outcome")); err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	if m.keeps, err = meter.Int64Counter("formicary_cache_stored_bytes", metric.WithUnit("By"), metric.WithDescription("bytes of caches that were stored")); err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	return m, nil
}

// Quota is the most that a cache may have.
func (m *Manager) Quota() int64 { return m.conf.Quota }

// Find returns what an attempt gets; nil when there is nothing.
func (m *Manager) Find(ctx context.Context, attempt uuid.UUID, key string, prefixes []string) (*Cache, error) {
	c, err := m.store.FindCache(ctx, attempt, key, prefixes)
	if err != nil {
		return nil, err
	}
	outcome := "miss"
	switch {
	case c == nil:
	case c.Key == key:
		outcome = "hit"
	default:
		outcome = "partial"
	}
	m.finds.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	return c, nil
}

// Sign returns an address to read a cache from.
func (m *Manager) Sign(ctx context.Context, attempt, id uuid.UUID) (string, error) {
	object, err := m.store.CacheObject(ctx, attempt, id)
	if err != nil {
		return "", err
	}
	switch has, err := m.blobs.Has(ctx, object); {
	case err != nil:
		return "", err
	case !has: // else nothing could be stored under its key until it expires
		return "", errors.Join(errs.NotFound("CACHE_NOT_FOUND", "the bytes of cache %s are not in the object store (any more)", id), m.store.LoseCache(ctx, id))
	}
	address, err := m.blobs.SignGet(ctx, object, valid)
	if err != nil {
		return "", err
	}
	return address.String(), nil
}

// Begin begins the upload of a live attempt; nil when something is kept under the key already.
func (m *Manager) Begin(ctx context.Context, p *execution.LogPlace, key string) (*artifact.Upload, error) {
	if has, err := m.store.HasCache(ctx, p.UID, key); err != nil || has {
		return nil, err
	}
	u := &artifact.Upload{ID: uuid.Must(uuid.NewV7()), Attempt: p.UID, Org: p.Org, Name: key}
	u.Key = fmt.Sprintf("caches/%s/%s", url.PathEscape(p.Org), u.ID)
	var err error
	if u.StoreID, err = m.blobs.BeginParts(ctx, u.Key); err != nil {
		return nil, artifact.Unavailable("take a cache", err)
	}
	return u, m.store.BeginUpload(ctx, u)
}

// Keep makes a cache of a complete upload. What is kept under the key already stays; the object is swept then, as that of any
// upload that becomes nothing.
func (m *Manager) Keep(ctx context.Context, attempt, upload uuid.UUID, c *Cache, age time.Duration) (bool, error) {
	u, err := m.store.UploadOf(ctx, upload, attempt)
	if errs.Reason(err) == "UPLOAD_NOT_FOUND" { // it is kept already, when this is asked again
		if has, found := m.store.CacheObject(ctx, attempt, upload); found == nil && has != "" {
			return true, nil
		}
	}
	if err != nil {
		return false, err
	}
	if u.Bytes > m.conf.Quota {
		return false, errs.Precondition("CACHE_TOO_LARGE", "the cache has %d bytes; all of an organisation may have %d", u.Bytes, m.conf.Quota)
	}
	if age <= 0 {
		age = m.conf.Age
	}
	kept, err := m.store.KeepCache(ctx, attempt, upload, c, min(age, execution.MostArtifactAge))
	if err != nil || !kept {
		return false, err
	}
	m.keeps.Add(ctx, u.Bytes)
	m.kept()
	return true, nil
}
