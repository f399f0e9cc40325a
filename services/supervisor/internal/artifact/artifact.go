// Package artifact keeps the files of tasks and of users: uploads under way, and what became of them. A row of an artifact
// means that its object is whole; that of a task's is made by the transaction that ends its attempt.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// The kinds of artifacts.
const (
	OfTask = "TASK"
	OfUser = "USER"
)

// Artifact is files that are kept together.
type Artifact struct {
	ID        uuid.UUID
	Org       string
	Kind      string
	Request   uuid.UUID // zero for one of a user, as is all that follows up to Attempt
	Run       int
	JobType   string
	Task      string
	Attempt   int
	Name      string
	Key       string // of the object
	Bytes     int64
	Files     int
	SHA256    string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Upload is one that has been begun.
type Upload struct {
	ID      uuid.UUID
	Attempt uuid.UUID // zero: of a user
	Org     string
	Name    string
	Key     string
	StoreID string // of the object store
	Given   time.Time
	Done    bool // it is complete
	Bytes   int64
	Files   int
	SHA256  string
}

// Filter says which artifacts to list.
type Filter struct {
	Org                 string
	Request             uuid.UUID
	Run                 int
	JobType, Task, Name string
	Before              time.Time // with BeforeID the last of the page before
	BeforeID            uuid.UUID
	Limit               int
}

// Store keeps the rows.
type Store interface {
	BeginUpload(ctx context.Context, u *Upload) error
	// UploadOf returns an upload of an attempt; an error with the reason UPLOAD_NOT_FOUND where there is none.
	UploadOf(ctx context.Context, id, attempt uuid.UUID) (*Upload, error)
	CompleteUpload(ctx context.Context, u *Upload) error
	// KeepUpload makes an artifact of a user's upload.
	KeepUpload(ctx context.Context, u *Upload, age time.Duration) (*Artifact, error)
	// InputKeys returns the keys of artifacts that the claim of an attempt has named.
	InputKeys(ctx context.Context, attempt uuid.UUID, ids []uuid.UUID) (map[uuid.UUID]string, error)
	ForgetArtifacts(ctx context.Context, ids []uuid.UUID) error
}

// Blobs keeps the objects.
type Blobs interface {
	BeginParts(ctx context.Context, key string) (storeID string, err error)
	SignPart(ctx context.Context, key, storeID string, number int, valid time.Duration) (*url.URL, error)
	// JoinParts makes the object; it is no error when an earlier call did. It returns the size of the object.
	JoinParts(ctx context.Context, key, storeID string, etags []string) (int64, error)
	SignGet(ctx context.Context, key string, valid time.Duration) (*url.URL, error)
	// Range reads n bytes of an object from off on.
	Range(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Remove(ctx context.Context, keys []string) error
}

// PartBytes is the size of each part but the last: at most 10,000 of them are one object.
const PartBytes = 8 << 20

// valid is how long an address is.
const valid = 15 * time.Minute

// Address of an artifact at the gateway; it tells nothing of where the object is, and opens nothing by itself.
func Address(base string, id uuid.UUID) string {
	return strings.TrimSuffix(base, "/") + "/api/v1/artifacts/" + id.String() + "/download"
}

// Unavailable says what the object store does not do. Why it does not is no text for callers.
func Unavailable(what string, err error) error {
	return fmt.Errorf("%w: %w", errs.Unavailable("STORE_UNAVAILABLE", "the object store does not %s; the log of supervisor says why", what), err)
}

// Manager serves ants.
type Manager struct {
	Store Store
	Blobs Blobs
	// Most is how many bytes an object may have.
	Most int64
}

// Begin begins the upload of a live attempt.
func (m *Manager) Begin(ctx context.Context, p *execution.LogPlace, name string) (*Upload, error) {
	u := &Upload{ID: uuid.Must(uuid.NewV7()), Attempt: p.UID, Org: p.Org, Name: name}
	u.Key = fmt.Sprintf("artifacts/%s/%s/%d/%s/%s/%s", url.PathEscape(p.Org), p.Request, p.Run, url.PathEscape(p.Task), p.UID, u.ID)
	var err error
	if u.StoreID, err = m.Blobs.BeginParts(ctx, u.Key); err != nil {
		return nil, Unavailable("take an artifact", err)
	}
	return u, m.Store.BeginUpload(ctx, u)
}

// Sign returns an address for each part.
func (m *Manager) Sign(ctx context.Context, attempt, upload uuid.UUID, numbers []int32) ([]string, error) {
	u, err := m.Store.UploadOf(ctx, upload, attempt)
	if err != nil {
		return nil, err
	}
	urls := make([]string, len(numbers))
	for i, n := range numbers {
		address, err := m.Blobs.SignPart(ctx, u.Key, u.StoreID, int(n), valid)
		if err != nil {
			return nil, err
		}
		urls[i] = address.String()
	}
	return urls, nil
}

// Complete makes the object. It must have the size that the ant says and end with the index of an archive of so many files; its digest
// is known to the ant alone, and whoever reads it checks it. It may be called again.
func (m *Manager) Complete(ctx context.Context, attempt, upload uuid.UUID, etags []string, what Upload) error {
	u, err := m.Store.UploadOf(ctx, upload, attempt)
	if err != nil || u.Done {
		return err
	}
	size, err := m.Blobs.JoinParts(ctx, u.Key, u.StoreID, etags)
	if err != nil {
		return Unavailable("complete the artifact", err)
	}
	if size > m.Most {
		_ = m.Blobs.Remove(ctx, []string{u.Key}) // what fails is swept
		return errs.Precondition("ARTIFACT_TOO_LARGE", "the artifact has %d bytes; one may have %d (setting artifact-bytes)", size, m.Most)
	}
	if size != what.Bytes {
		return errs.Precondition("UPLOAD_INCOMPLETE", "the object has %d bytes, not %d", size, what.Bytes)
	}
	if err := m.check(ctx, u.Key, what); err != nil {
		return err
	}
	u.Bytes, u.Files, u.SHA256 = what.Bytes, what.Files, what.SHA256
	return m.Store.CompleteUpload(ctx, u)
}

// check reads the index of an archive.
func (m *Manager) check(ctx context.Context, key string, what Upload) error {
	x, err := archive.Open(ctx, func(ctx context.Context, off, n int64) (io.ReadCloser, error) { return m.Blobs.Range(ctx, key, off, n) }, what.Bytes, archive.Limits{})
	switch {
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrUnsafe), errors.Is(err, archive.ErrLimit):
		return errs.Precondition("UPLOAD_DAMAGED", "%v", err)
	case err != nil:
		return Unavailable("read the artifact", err)
	}
	files := 0
	for e := range x.Entries() {
		if e.Type != archive.Directory {
			files++
		}
	}
	if files != what.Files {
		return errs.Precondition("UPLOAD_DAMAGED", "the archive has %d files, not %d", files, what.Files)
	}
	return nil
}

// Read returns an address for each input of an attempt.
func (m *Manager) Read(ctx context.Context, attempt uuid.UUID, ids []uuid.UUID) ([]string, error) {
	keys, err := m.Store.InputKeys(ctx, attempt, ids)
	if err != nil {
		return nil, err
	}
	urls := make([]string, len(ids))
	for i, id := range ids {
		key, ok := keys[id]
		if !ok {
			return nil, errs.NotFound("ARTIFACT_NOT_FOUND", "artifact %s is no input of attempt %s, or does not exist any more", id, attempt)
		}
		address, err := m.Blobs.SignGet(ctx, key, valid)
		if err != nil {
			return nil, err
		}
		urls[i] = address.String()
	}
	return urls, nil
}
