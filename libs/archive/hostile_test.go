package archive_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/archive/archivetest"
)

func refused(err error) bool {
	return errors.Is(err, archive.ErrUnsafe) || errors.Is(err, archive.ErrLimit) || errors.Is(err, archive.ErrDamaged)
}

// lowLimits spare the test the time that the default ones take.
var lowLimits = archive.Limits{Entries: 5_000, Bytes: 64 << 20} //nolint:gochecknoglobals // a constant

// Whatever a stranger sends becomes an archive that is harmless, or none.
func TestHostileArchivesAreNotPacked(t *testing.T) {
	archivetest.Each(t, []string{"tar", "zip"}, func(t *testing.T, c archivetest.Case, form string, d archivetest.Data) {
		var packed bytes.Buffer
		w, err := archive.NewWriter(&packed, lowLimits)
		if err != nil {
			t.Fatal(err)
		}
		if form == "zip" {
			err = w.Zip(t.Context(), d, d.Size())
		} else {
			err = w.Tar(d.Reader())
		}
		if _, closed := w.Close(); (err == nil) != (closed == nil) {
			t.Errorf("%v, but closed with %v", err, closed)
		}
		if refused(err) || err == nil && c.Taken {
			return
		}
		t.Errorf("%v", err)
	})
}

// Nor does it come out where somebody has packed it who is a stranger himself.
func TestHostileArchivesAreNotExtracted(t *testing.T) {
	archivetest.Each(t, []string{"tar.zst"}, func(t *testing.T, c archivetest.Case, _ string, d archivetest.Data) {
		in := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(in, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(in)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		for what, take := range map[string]func(r io.Reader) error{
			"extract": func(r io.Reader) error {
				if c.Large {
					return archive.Clean(io.Discard, r, lowLimits) // as extract does, without the files
				}
				return archive.Extract(root, r, lowLimits)
			},
			"zip": func(r io.Reader) error { return archive.Zip(io.Discard, r, lowLimits) },
		} {
			raw, err := archive.Decompress(d.Reader(), lowLimits)
			if err != nil {
				t.Fatal(err)
			}
			if err := take(raw); !refused(err) && (err != nil || !c.Taken) {
				t.Errorf("%s: %v", what, err)
			}
			_ = raw.Close()
		}
		archivetest.Contained(t, in)
	})
}

// An index that lies is found out, before memory is taken by what it says.
func TestIndexesThatLie(t *testing.T) {
	lies, err := archivetest.Lies()
	if err != nil {
		t.Fatal(err)
	}
	for _, lie := range lies {
		t.Run(lie.Name, func(t *testing.T) {
			archivetest.Memory(t, 512<<20, func() {
				_, err := archive.Open(t.Context(), archive.At(bytes.NewReader(lie.Data)), int64(len(lie.Data)), archive.Limits{})
				if !refused(err) {
					t.Error(err)
				}
			})
		})
	}
}
