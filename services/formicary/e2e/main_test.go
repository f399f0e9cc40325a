// Package e2e tells user stories to real processes: the binaries that `make build` puts into bin/ are built once, run
// against a private PostgreSQL, NATS, etcd and S3, and spoken to over REST, the way a user would. Every test ends with
// the auditor.
//
// FORMICARY_E2E_BIN names a directory with binaries to use instead, those of the services and "example", the Go worker.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	// The binaries are built from it: without it the go command would not run these tests again when only that changed.
	_ "github.com/formicary/formicary/services/formicary/internal/cli"
)

// binDir holds the binaries under test.
var binDir string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	if built := os.Getenv("FORMICARY_E2E_BIN"); built != "" {
		binDir = built
		return m.Run(), nil
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return 1, err
	}
	binDir, err = os.MkdirTemp("", "formicary-e2e-bin-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(binDir) }()
	if err := os.Chmod(binDir, 0o755); err != nil {
		return 1, err
	}
	args := []string{"build", "-buildvcs=false", "-o", binDir + "/", "./services/formicary/cmd/formicary"}
	for _, s := range services {
		args = append(args, fmt.Sprintf("./services/%s/cmd/%s", s, s))
	}
	args = append(args, "./services/ant/cmd/ant", "./services/ant/workers/go/example")
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build binaries: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// services run as one process each in the tests of separate processes.
var services = []string{"job-manager", "resource-manager", "scheduler", "supervisor", "api-gateway"}
