package api

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// CacheReader shows caches.
type CacheReader interface {
	Caches(ctx context.Context, f cache.Filter) ([]cache.Cache, error)
	CacheBytes(ctx context.Context, org string) (int64, error)
}

// CacheStore forgets them.
type CacheStore interface {
	DropCache(ctx context.Context, org string, id uuid.UUID) ([]artifact.Upload, error)
}

// Caches serves people.
type Caches struct {
	executionv1.UnimplementedCacheServiceServer
	Reader CacheReader
	Store  CacheStore
	Quota  int64
	// Sweep deletes the objects of what was dropped.
	Sweep func(ctx context.Context, gone []artifact.Upload) error
}

const cachePage = 100

// ListCaches lists caches.
func (s *Caches) ListCaches(ctx context.Context, req *executionv1.ListCachesRequest) (*executionv1.ListCachesResponse, error) {
	f := cache.Filter{
		Org: access.From(ctx).Org, JobType: req.GetJobType(), KeyPrefix: req.GetKeyPrefix(), Before: time.Unix(1<<40, 0), BeforeID: uuid.Max, Limit: int(req.GetPageSize()),
	}
	if f.Limit == 0 {
		f.Limit = cachePage
	}
	list := rpc.PartOf("caches", f.JobType, f.KeyPrefix)
	place, err := rpc.PagePlace(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if place != "" {
		if f.Before, f.BeforeID, err = readPlace(place); err != nil {
			return nil, err
		}
	}
	size := f.Limit
	f.Limit++ // one more tells whether there is a next page
	all, err := s.Reader.Caches(ctx, f)
	if err != nil {
		return nil, err
	}
	res := &executionv1.ListCachesResponse{QuotaBytes: s.Quota}
	if res.TotalBytes, err = s.Reader.CacheBytes(ctx, f.Org); err != nil {
		return nil, err
	}
	if len(all) > size {
		all = all[:size]
		last := &all[size-1]
		res.NextPageToken = rpc.PageToken(list, writePlace(last.CreatedAt, last.ID))
	}
	for i := range all {
		res.Caches = append(res.Caches, toCache(&all[i]))
	}
	return res, nil
}

// writePlace names a row of a list that begins with the newest.
func writePlace(at time.Time, id uuid.UUID) string { return fmt.Sprintf("%d %s", at.UnixMicro(), id) }

func readPlace(place string) (at time.Time, id uuid.UUID, err error) {
	var micros int64
	var text string
	if _, err := fmt.Sscanf(place, "%d %s", &micros, &text); err != nil {
		return at, id, rpc.BadPageToken()
	}
	if id, err = uuid.Parse(text); err != nil {
		return at, id, rpc.BadPageToken()
	}
	return time.UnixMicro(micros), id, nil
}

func toCache(c *cache.Cache) *executionv1.Cache {
	return &executionv1.Cache{
		Id: c.ID.String(), JobType: c.JobType, Key: c.Key, RequestId: c.Request.String(), Task: c.Task, Bytes: c.Bytes, RawBytes: c.RawBytes,
		Files: int32(c.Files), Sha256: c.SHA256, Uses: c.Uses, // #nosec G115 -- at most a million
		CreatedAt: timestamppb.New(c.CreatedAt), UsedAt: timestamppb.New(c.UsedAt), ExpiresAt: timestamppb.New(c.ExpiresAt),
	}
}

// DeleteCache forgets a cache, then deletes its object; what a fault leaves of it is swept.
func (s *Caches) DeleteCache(ctx context.Context, req *executionv1.DeleteCacheRequest) (*executionv1.DeleteCacheResponse, error) {
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, badID("id", err)
	}
	gone, err := s.Store.DropCache(ctx, access.From(ctx).Org, id)
	if err != nil {
		return nil, err
	}
	return &executionv1.DeleteCacheResponse{}, s.Sweep(ctx, gone)
}

func toCacheUse(c *execution.CacheUse) *executionv1.CacheUse {
	if c == nil {
		return nil
	}
	return &executionv1.CacheUse{
		Outcome: executionv1.CacheUse_Outcome(executionv1.CacheUse_Outcome_value[c.Outcome]), Key: c.Key, FoundKey: c.FoundKey, Bytes: c.Bytes, RawBytes: c.RawBytes,
		Local: c.Local, RestoreMillis: c.RestoreMillis, SavedMillis: c.SavedMillis, StoredBytes: c.StoredBytes, StoreMillis: c.StoreMillis,
	}
}
