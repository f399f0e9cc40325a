package api_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/archive/archivetest"
	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/api"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

// shelf keeps uploads; it counts what it is given and remembers nothing of it.
type shelf struct {
	artifact.Store
	api.ArtifactBlobs
	whole bool // an object was stored to its end
	kept  bool
}

func (s *shelf) BeginUpload(context.Context, *artifact.Upload) error { return nil }

func (s *shelf) KeepUpload(_ context.Context, u *artifact.Upload, _ time.Duration) (*artifact.Artifact, error) {
	s.kept = true
	return &artifact.Artifact{ID: u.ID}, nil
}

func (s *shelf) Put(_ context.Context, _ string, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	s.whole = err == nil
	return err
}

// sent is the stream of a user who sends a file.
type sent struct {
	grpc.ServerStream
	ctx   context.Context //nolint:containedctx // a stream has one
	r     io.Reader
	begun bool
}

func (s *sent) Context() context.Context { return s.ctx }

func (s *sent) SendAndClose(*executionv1.UploadArtifactResponse) error { return nil }

func (s *sent) Recv() (*executionv1.UploadArtifactRequest, error) {
	if !s.begun {
		s.begun = true
		return &executionv1.UploadArtifactRequest{Name: "hostile"}, nil
	}
	piece := make([]byte, 256<<10)
	n, err := s.r.Read(piece)
	if n > 0 {
		err = nil
	}
	return &executionv1.UploadArtifactRequest{Data: piece[:n]}, err
}

// What a user sends to do harm is refused with what is wrong with it, and nothing is stored.
func TestHostileUploads(t *testing.T) {
	archivetest.Each(t, []string{"tar", "tar.gz", "tar.zst", "zip"}, func(t *testing.T, c archivetest.Case, form string, d archivetest.Data) {
		if c.Name == "ten million files" && form != "tar" {
			t.Skip("too long to be sent, or so few when they are compressed that they may be taken; libs/archive refuses them")
		}
		s := &shelf{}
		server := api.NewArtifacts(nil, s, s, 32<<20)
		err := server.UploadArtifact(&sent{ctx: t.Context(), r: d.Reader()})
		if c.Taken && err == nil && s.whole && s.kept {
			return
		}
		if errs.Reason(err) != "ARTIFACT_REFUSED" || s.whole || s.kept || !strings.Contains(err.Error(), "archive") {
			t.Errorf("%v, stored %t, kept %t", err, s.whole, s.kept)
		}
	})
}

// silent is the stream of a user whose first message is refused, or who sends none.
type silent struct {
	sent
	err error
}

func (s *silent) Recv() (*executionv1.UploadArtifactRequest, error) { return nil, s.err }

func TestUploadsWithoutABeginning(t *testing.T) {
	long := errs.Invalid("REQUEST_INVALID", "name: must be at most 200 characters")
	for got, want := range map[error]string{io.EOF: "the call says nothing", long: "name: must be at most 200 characters"} {
		err := api.NewArtifacts(nil, nil, nil, 0).UploadArtifact(&silent{sent{ctx: t.Context()}, got})
		if errs.Reason(err) != "REQUEST_INVALID" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// joined is an object store whose objects have a size.
type joined struct {
	artifact.Blobs
	size    int64
	removed []string
}

func (j *joined) JoinParts(context.Context, string, string, []string) (int64, error) {
	return j.size, nil
}

func (j *joined) Remove(_ context.Context, keys []string) error {
	j.removed = append(j.removed, keys...)
	return errors.New("away")
}

type begun struct{ artifact.Store }

func (begun) UploadOf(context.Context, uuid.UUID, uuid.UUID) (*artifact.Upload, error) {
	return &artifact.Upload{Key: "k"}, nil
}

// An ant can store no more than is allowed, whatever it says.
func TestAnObjectThatIsTooLarge(t *testing.T) {
	blobs := &joined{size: 101}
	m := &artifact.Manager{Store: begun{}, Blobs: blobs, Most: 100}
	err := m.Complete(t.Context(), uuid.New(), uuid.New(), nil, artifact.Upload{Bytes: 50})
	if errs.Reason(err) != "ARTIFACT_TOO_LARGE" || len(blobs.removed) != 1 {
		t.Errorf("%v, removed %q", err, blobs.removed)
	}
}
