package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestEngineThatAnswers(t *testing.T) {
	all := Engine(t.Context(), enginetest.Shared(t).Host)
	if all[0].Grade != OK || !strings.Contains(all[0].What, "API 1.") || !strings.Contains(all[0].What, "cgroups v") {
		t.Errorf("%+v", all)
	}
}

func TestEngineThatDoesNot(t *testing.T) {
	if all := Engine(t.Context(), "unix://"+filepath.Join(t.TempDir(), "none.sock")); len(all) != 1 || all[0].Grade != Note || !strings.Contains(all[0].Advice, "install the package docker.io") {
		t.Errorf("%+v", all)
	}
	for err, want := range map[error]string{
		fmt.Errorf("dial: %w", os.ErrPermission): "usermod", fmt.Errorf("dial: %w", ant.ErrNoEngine): "systemctl start docker", errors.New("EOF"): "journalctl",
	} {
		if all := engine(ant.EngineInfo{}, err); !strings.Contains(all[0].Advice, want) || Failed(all) {
			t.Errorf("%v: %+v", err, all)
		}
	}
}

func TestEngineThatCannotLimit(t *testing.T) {
	all := engine(ant.EngineInfo{Version: "1", Storage: "vfs", Memory: true}, nil)
	var said []string
	for _, f := range all {
		said = append(said, f.What)
	}
	if text := strings.Join(said, "\n"); len(all) != 4 || !strings.Contains(text, "vfs") || !strings.Contains(text, "processors") || !strings.Contains(text, "forks") {
		t.Errorf("%q", said)
	}
}
