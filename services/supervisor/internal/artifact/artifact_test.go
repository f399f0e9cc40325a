package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// store has one upload, whose object is there.
type store struct {
	artifact.Store
	artifact.Blobs
	object []byte
	gone   error
	noted  *artifact.Upload
}

func (s *store) UploadOf(context.Context, uuid.UUID, uuid.UUID) (*artifact.Upload, error) {
	return &artifact.Upload{Key: "k"}, nil
}

func (s *store) JoinParts(context.Context, string, string, []string) (int64, error) {
	return int64(len(s.object)), nil
}

func (s *store) BeginParts(context.Context, string) (string, error) { return "", s.gone }

func (s *store) Range(ctx context.Context, _ string, off, n int64) (io.ReadCloser, error) {
	if s.gone != nil {
		return nil, s.gone
	}
	return archive.At(bytes.NewReader(s.object))(ctx, off, n)
}

func (s *store) CompleteUpload(_ context.Context, u *artifact.Upload) error {
	s.noted = u
	return nil
}

// What an ant says to be complete must be an archive with its index, of that size and with so many files.
func TestOnlyArchivesAreComplete(t *testing.T) {
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Add(&tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, nil)
	_ = w.Add(&tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Size: 1}, strings.NewReader("x"))
	sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	torn := bytes.Clone(whole)
	torn[len(torn)-60] ^= 1 // in the index
	for name, tt := range map[string]struct {
		object []byte
		say    artifact.Upload
		gone   error
		want   string // the reason of the refusal
	}{
		"whole":                 {whole, artifact.Upload{Bytes: sum.Bytes, Files: 1, SHA256: sum.SHA256}, nil, ""},
		"of another size":       {whole, artifact.Upload{Bytes: sum.Bytes + 1, Files: 1}, nil, "UPLOAD_INCOMPLETE"},
		"of other files":        {whole, artifact.Upload{Bytes: sum.Bytes, Files: 2}, nil, "UPLOAD_DAMAGED"},
		"cut":                   {whole[:len(whole)-1], artifact.Upload{Bytes: sum.Bytes - 1, Files: 1}, nil, "UPLOAD_DAMAGED"},
		"with a damaged index":  {torn, artifact.Upload{Bytes: sum.Bytes, Files: 1}, nil, "UPLOAD_DAMAGED"},
		"no archive":            {[]byte("text"), artifact.Upload{Bytes: 4, Files: 1}, nil, "UPLOAD_DAMAGED"},
		"of a store that fails": {whole, artifact.Upload{Bytes: sum.Bytes, Files: 1}, errors.New("away"), "STORE_UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{object: tt.object, gone: tt.gone}
			m := &artifact.Manager{Store: s, Blobs: s, Most: 1 << 20}
			err := m.Complete(t.Context(), uuid.New(), uuid.New(), nil, tt.say)
			if tt.gone != nil && (strings.Contains(rpc.ToStatus(err).Message(), "away") || !errors.Is(err, tt.gone)) {
				t.Errorf("callers are told %q, the log %v", rpc.ToStatus(err).Message(), err)
			}
			if errs.Reason(err) != tt.want || tt.want == "" != (err == nil) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if s.noted != nil != (tt.want == "") || s.noted != nil && (s.noted.Bytes != sum.Bytes || s.noted.SHA256 != sum.SHA256) {
				t.Errorf("noted: %+v", s.noted)
			}
		})
	}
}

// Why the store takes nothing is told to the log alone.
func TestAStoreThatTakesNothing(t *testing.T) {
	s := &store{gone: errors.New("away")}
	_, err := (&artifact.Manager{Store: s, Blobs: s}).Begin(t.Context(), &execution.LogPlace{}, "files")
	told := rpc.ToStatus(err).Message()
	if errs.Reason(err) != "STORE_UNAVAILABLE" || strings.Contains(told, "away") || !errors.Is(err, s.gone) {
		t.Errorf("callers are told %q, the log %v", told, err)
	}
}
