package api

import (
	"context"

	"github.com/google/uuid"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
)

// AntCaches serves ants.
type AntCaches struct {
	antv1.UnimplementedCacheServiceServer
	Attempts *Attempts
	Manager  *cache.Manager
}

// FindCache finds what an attempt gets.
func (a *AntCaches) FindCache(ctx context.Context, req *antv1.FindCacheRequest) (*antv1.FindCacheResponse, error) {
	place, err := a.Attempts.place(ctx, req)
	if err != nil {
		return nil, err
	}
	c, err := a.Manager.Find(ctx, place.UID, req.GetKey(), req.GetRestoreKeys())
	if err != nil {
		return nil, err
	}
	res := &antv1.FindCacheResponse{MostBytes: a.Manager.Quota()}
	if c != nil {
		res.Found = &antv1.CachedFiles{
			Id: c.ID.String(), Key: c.Key, Bytes: c.Bytes, RawBytes: c.RawBytes, Files: int32(c.Files), Sha256: c.SHA256, RunMillis: c.RunMillis, // #nosec G115 -- at most a million
		}
	}
	return res, nil
}

// SignCacheRead signs the address of one.
func (a *AntCaches) SignCacheRead(ctx context.Context, req *antv1.SignCacheReadRequest) (*antv1.SignCacheReadResponse, error) {
	place, err := a.Attempts.place(ctx, req)
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, badID("id", err)
	}
	address, err := a.Manager.Sign(ctx, place.UID, id)
	return &antv1.SignCacheReadResponse{Url: address}, err
}

// CreateCacheUpload begins an upload.
func (a *AntCaches) CreateCacheUpload(ctx context.Context, req *antv1.CreateCacheUploadRequest) (*antv1.CreateCacheUploadResponse, error) {
	place, err := a.Attempts.place(ctx, req)
	if err != nil {
		return nil, err
	}
	u, err := a.Manager.Begin(ctx, &place, req.GetKey())
	if err != nil || u == nil {
		return &antv1.CreateCacheUploadResponse{}, err
	}
	return &antv1.CreateCacheUploadResponse{Upload: u.ID.String(), PartBytes: artifact.PartBytes}, nil
}

// KeepCache keeps a complete upload.
func (a *AntCaches) KeepCache(ctx context.Context, req *antv1.KeepCacheRequest) (*antv1.KeepCacheResponse, error) {
	place, err := a.Attempts.place(ctx, req)
	if err != nil {
		return nil, err
	}
	upload, err := uuid.Parse(req.GetUpload())
	if err != nil {
		return nil, badID("upload", err)
	}
	kept, err := a.Manager.Keep(ctx, place.UID, upload, &cache.Cache{Key: req.GetKey(), RawBytes: req.GetRawBytes(), RunMillis: req.GetRunMillis()}, req.GetExpiresAfter().AsDuration())
	return &antv1.KeepCacheResponse{Kept: kept}, err
}
