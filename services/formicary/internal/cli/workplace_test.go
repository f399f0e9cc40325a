package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/formicary/formicary/services/formicary/internal/up"
)

// Only what a killed run left under its own name is swept: neither the data of a colony nor a copy.
func TestOnlyWorkplacesAreSwept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	mine, err := newWorkplace()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mine.leave() }()
	killed, err := newWorkplace()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(os.TempDir(), workplaces+"copy")
	if err := os.CopyFS(copied, os.DirFS(killed.dir)); err != nil {
		t.Fatal(err)
	}
	colony := filepath.Join(os.TempDir(), workplaces+"demo")
	if err := os.Mkdir(colony, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(colony, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = killed.lock.Close()
	mine.sweep(t.Context(), up.DefaultConfig())
	for dir, stays := range map[string]bool{mine.dir: true, killed.dir: false, copied: true, colony: true} {
		if _, err := os.Stat(dir); (err == nil) != stays {
			t.Errorf("%s: %v", filepath.Base(dir), err)
		}
	}
}
