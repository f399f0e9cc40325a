package colony_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/formicary/formicary/libs/colony"
)

func TestSavedColonyIsLoadedWithOverrides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "colony.json")
	if err := (colony.Colony{NATS: "nats://a", Services: map[string]string{"scheduler": "s:1"}}).Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	env := map[string]string{"FORMICARY_NATS_URL": "nats://b", "FORMICARY_JOB_MANAGER_ADDR": "j:1"}
	c, err := colony.Load(path, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if c.NATS != "nats://b" {
		t.Errorf("NATS %q", c.NATS)
	}
	for name, want := range map[string]string{"scheduler": "s:1", "job-manager": "j:1"} {
		if got, err := c.Service(name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := c.Service("supervisor"); err == nil {
		t.Error("an unknown address gives no error")
	}
}
