// Package doctor looks at what a colony needs from its machine, and whether a colony is well, and says what to do.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/pgdb/cluster"
)

// Grade of a finding.
type Grade string

// The grades.
const (
	OK   Grade = "ok"
	Note Grade = "note" // not needed by everybody
	Bad  Grade = "bad"
)

// Finding is the result of one check.
type Finding struct {
	Name  string `json:"name"`
	Grade Grade  `json:"grade"`
	// What was found.
	What string `json:"what"`
	// Advice says what to do; empty when nothing.
	Advice string `json:"advice,omitempty"`
}

// Failed says whether anything is bad.
func Failed(all []Finding) bool {
	for _, f := range all {
		if f.Grade == Bad {
			return true
		}
	}
	return false
}

// Machine looks at the machine and at the data directory.
func Machine(ctx context.Context, dataDir, listen string) []Finding {
	return []Finding{
		postgres(ctx), program("git", "only the demo needs it: install the package git"),
		program("go", "only building and the demo need it: install Go 1.26 or newer"), directory(dataDir), keys(filepath.Join(dataDir, "keyring.json")), ports(listen),
	}
}

func postgres(ctx context.Context) Finding {
	f := Finding{Name: "PostgreSQL", Grade: Bad}
	dir, err := cluster.Binaries()
	if err != nil {
		f.What, f.Advice = "not found", err.Error()
		return f
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		f.What, f.Advice = fmt.Sprintf("%s/postgres does not run: %v", dir, err), "install the package postgresql again"
		return f
	}
	f.Grade, f.What = OK, strings.TrimSpace(string(out))+" in "+dir
	return f
}

func program(name, advice string) Finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return Finding{Name: name, Grade: Note, What: "not on PATH", Advice: advice}
	}
	return Finding{Name: name, Grade: OK, What: path}
}

// directory looks whether the data directory can be used.
func directory(dir string) Finding {
	f := Finding{Name: "data directory", Grade: OK}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Finding{Name: f.Name, Grade: Bad, What: err.Error()}
	}
	f.What = abs
	at := abs
	for {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	if at != abs {
		f.What += " (to be made)"
	}
	probe, err := os.CreateTemp(at, ".doctor-")
	if err != nil {
		f.Grade, f.Advice = Bad, "it cannot be written: choose another --data"
		return f
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return f
}

// keys looks whether the key ring can be used, and by its owner only.
func keys(path string) Finding {
	f := Finding{Name: "key ring", Grade: OK, What: path}
	switch err := keyring.Inspect(path); {
	case errors.Is(err, fs.ErrNotExist):
		f.What += " (to be made)"
	case err != nil:
		f.Grade, f.What, f.Advice = Bad, err.Error(), "without it no secret can be stored or read, and job-manager does not start: put it right, or back from a backup"
	}
	return f
}

// ports looks whether the default addresses are free.
func ports(listen string) Finding {
	f := Finding{Name: "address " + listen, Grade: OK, What: "free"}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		f.Grade, f.What, f.Advice = Note, "in use", "fine when it is the colony; otherwise start with --listen 127.0.0.1:0"
		return f
	}
	_ = l.Close()
	return f
}

// Ready asks a colony's operations port whether it takes work.
func Ready(ctx context.Context, ops string) Finding {
	f := Finding{Name: "readiness", Grade: Bad}
	if err := ready(ctx, ops); err != nil {
		f.What, f.Advice = err.Error(), "wait for a colony that is starting, or look at what it printed"
		return f
	}
	f.Grade, f.What = OK, "http://"+ops+"/readyz says ok"
	return f
}

const askTime = 3 * time.Second

func ready(ctx context.Context, ops string) error {
	if ops == "" {
		return errors.New("the operations port is not known")
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/readyz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: the port is this machine's
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no answer at %s", ops)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
}
