package shell

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/archive/archivetest"
	"github.com/formicary/formicary/services/ant/internal/transfer"
)

// signed is who signs for an object store.
type signed struct {
	transfer.Store
	url string
}

func (s *signed) SignRead(context.Context, string) (string, error) { return s.url, nil }

// What another ant, or the object store, gives to a task as an artifact or as its cache is unpacked below its directory or not
// at all, and no more of it than is allowed.
func TestHostileInputs(t *testing.T) {
	var object archivetest.Data
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(object, 0, object.Size()))
	}))
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	limits := archive.Limits{Entries: 3000, Bytes: 4 << 20}
	mover := &transfer.Mover{HTTP: client, Store: &signed{url: server.URL}, Limits: limits, Patience: 20 * time.Second}
	archivetest.Each(t, []string{"tar.zst"}, func(t *testing.T, c archivetest.Case, _ string, d archivetest.Data) {
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		object = d
		sum := sha256.New()
		if _, err := io.Copy(sum, d.Reader()); err != nil {
			t.Fatal(err)
		}
		in := transfer.Input{Bytes: d.Size(), SHA256: hex.EncodeToString(sum.Sum(nil))}
		task := &session{dir: dir}
		err := mover.Download(t.Context(), in, func(r io.Reader) error { return task.Put(t.Context(), ".", r) })
		if !refusedArchive(err) && (err != nil || !c.Taken) {
			t.Errorf("artifact: %v", err)
		}
		archivetest.Contained(t, dir)
		if err := transfer.Check(d.Reader(), in, limits); !refusedArchive(err) && (err != nil || !c.Taken) {
			t.Errorf("cache: %v", err)
		}
	})
}

func refusedArchive(err error) bool {
	return errors.Is(err, archive.ErrUnsafe) || errors.Is(err, archive.ErrLimit) || errors.Is(err, archive.ErrDamaged)
}

// The workspace itself takes nothing that leads out of it, also when nobody has looked at it before.
func TestHostileTarsInTheWorkspace(t *testing.T) {
	archivetest.Each(t, []string{"tar"}, func(t *testing.T, c archivetest.Case, _ string, d archivetest.Data) {
		if c.Large {
			t.Skip("how much comes in is counted before")
		}
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = (&session{dir: dir}).Put(t.Context(), ".", d.Reader())
		archivetest.Contained(t, dir)
	})
}
