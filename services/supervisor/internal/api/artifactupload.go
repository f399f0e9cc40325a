package api

import (
	"context"

	"github.com/google/uuid"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

// CreateArtifactUpload begins an upload.
func (a *Attempts) CreateArtifactUpload(ctx context.Context, req *antv1.CreateArtifactUploadRequest) (*antv1.CreateArtifactUploadResponse, error) {
	place, err := a.place(ctx, req)
	if err != nil {
		return nil, err
	}
	u, err := a.Artifacts.Begin(ctx, &place, req.GetName())
	if err != nil {
		return nil, err
	}
	return &antv1.CreateArtifactUploadResponse{Upload: u.ID.String(), PartBytes: artifact.PartBytes}, nil
}

// SignArtifactParts signs addresses for parts.
func (a *Attempts) SignArtifactParts(ctx context.Context, req *antv1.SignArtifactPartsRequest) (*antv1.SignArtifactPartsResponse, error) {
	place, err := a.place(ctx, req)
	if err != nil {
		return nil, err
	}
	upload, err := uuid.Parse(req.GetUpload())
	if err != nil {
		return nil, badID("upload", err)
	}
	urls, err := a.Artifacts.Sign(ctx, place.UID, upload, req.GetParts())
	return &antv1.SignArtifactPartsResponse{Urls: urls}, err
}

// CompleteArtifactUpload makes the object.
func (a *Attempts) CompleteArtifactUpload(ctx context.Context, req *antv1.CompleteArtifactUploadRequest) (*antv1.CompleteArtifactUploadResponse, error) {
	place, err := a.place(ctx, req)
	if err != nil {
		return nil, err
	}
	upload, err := uuid.Parse(req.GetUpload())
	if err != nil {
		return nil, badID("upload", err)
	}
	err = a.Artifacts.Complete(ctx, place.UID, upload, req.GetEtags(), artifact.Upload{Bytes: req.GetBytes(), Files: int(req.GetFiles()), SHA256: req.GetSha256()})
	return &antv1.CompleteArtifactUploadResponse{}, err
}

// SignArtifactReads signs addresses for inputs.
func (a *Attempts) SignArtifactReads(ctx context.Context, req *antv1.SignArtifactReadsRequest) (*antv1.SignArtifactReadsResponse, error) {
	place, err := a.place(ctx, req)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(req.GetIds()))
	for i, s := range req.GetIds() {
		if ids[i], err = uuid.Parse(s); err != nil {
			return nil, badID("ids", err)
		}
	}
	urls, err := a.Artifacts.Read(ctx, place.UID, ids)
	return &antv1.SignArtifactReadsResponse{Urls: urls}, err
}
