package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/archive/archivetest"
)

// An artifact that was made to do harm does none to who downloads it.
func TestHostileDownloads(t *testing.T) {
	archivetest.Each(t, []string{"tar.zst"}, func(t *testing.T, c archivetest.Case, _ string, d archivetest.Data) {
		to := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(to, 0o700); err != nil {
			t.Fatal(err)
		}
		err := (&downloading{to: to, limits: archive.Limits{Entries: 3000, Bytes: 4 << 20}}).unpack(d.Reader())
		refused := errors.Is(err, archive.ErrUnsafe) || errors.Is(err, archive.ErrLimit) || errors.Is(err, archive.ErrDamaged)
		if !refused && (err != nil || !c.Taken) {
			t.Error(err)
		}
		archivetest.Contained(t, to)
	})
}
