package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/libs/testkit/enginetest"
)

const canaryJob = `
job_type: canary
params:
  - {name: PIN, type: secret, required: true}
tasks:
  - task_type: shell
    method: SHELL
    secrets: [CANARY, params.PIN, {name: CANARY, file: id}]
    script:
      - printf %s "$CANARY$PIN" | sha256sum
      - echo "$CANARY" "$PIN"; echo "$CANARY" >&2; cat "$CANARY_FILE"
      - echo "$CANARY" | base64; printf %s "$PIN" | od -An -tx1 | tr -d ' \n'; echo
      - 'echo "::set-output name=said::it is $CANARY"'
    on_completed: container
  - task_type: container
    method: DOCKER
    container: IMAGE
    secrets: [CANARY, params.PIN]
    script:
      - printf %s "$CANARY$PIN" | sha256sum
      - echo "$CANARY" "$PIN"; env; sleep 2
    on_completed: call
  - task_type: call
    method: HTTP_POST_JSON
    url: ADDRESS/take
    query: {pin: "{{.PIN}}"}
    secrets: [CANARY, params.PIN]
    headers: {Authorization: "Bearer {{.CANARY}}"}
    on_completed: refuse
  - task_type: refuse
    method: SHELL
    secrets: [CANARY]
    script: ['echo "it failed with $CANARY" >&2; exit 3']
    on_failed: last
  - task_type: last
    method: SHELL
    secrets: [params.PIN]
    always_run: true
    script: ['nothing-of-this-name-$PIN || true']
`

// A secret that tasks print, send, fail with and get back in answers is in no store, no log of a process, no answer of the API and nothing that
// the engine shows.
func TestCanarySecretIsNowhere(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	const canary, pin = "canary-7Qz!4kVt-secret", "pin&canary/55-Lw9\"x"
	var mu sync.Mutex
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.Header.Get("Authorization"), r.URL.Query().Get("pin"))
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"you_said":%q,"query":%q}`, r.Header.Get("Authorization"), r.URL.RawQuery)
	}))
	t.Cleanup(srv.Close)
	w := newWorld(t)
	up := w.embedded()
	if out, code := w.cliIn(canary, "secret", "set", "CANARY"); code != 0 {
		t.Fatal(out)
	}
	w.define(strings.NewReplacer("IMAGE", enginetest.Busybox, "ADDRESS", srv.URL).Replace(canaryJob))

	seen := haystack{t: t, needles: needles(canary, pin)}
	id := w.submit("canary", "canary-1", map[string]any{"PIN": pin})
	inspected := map[string]bool{}
	w.within(2*patience, "the job has ended", func() bool {
		for _, c := range engine.Containers(t, "formicary.job=canary") {
			if text := engine.Inspect(c); text != "" {
				inspected[c] = true
				seen.look("inspect of a container", []byte(text))
			}
		}
		r, ok := w.get(id)
		return ok && terminal(r.State)
	})
	if len(inspected) == 0 {
		t.Error("no container was seen")
	}
	mu.Lock()
	if len(got) != 2 || got[0] != "Bearer "+canary || got[1] != pin {
		t.Errorf("the server of the HTTP task got %q", got)
	}
	mu.Unlock()
	sum := sha256.Sum256([]byte(canary + pin))
	for _, name := range []string{"shell", "container", "call", "refuse", "last"} {
		task := w.task(id, name)
		if len(task.Attempts) == 0 {
			t.Fatalf("%s was not run: %+v", name, task)
		}
		log, err := w.text("/api/v1/jobs/requests/" + id + "/tasks/" + name + "/log")
		if err != nil {
			t.Fatal(err)
		}
		if name == "shell" || name == "container" {
			if !strings.Contains(log, hex.EncodeToString(sum[:])) {
				t.Errorf("%s did not have its secrets: %s", name, log)
			}
			if !strings.Contains(log, "***") {
				t.Errorf("%s printed no secret: %s", name, log)
			}
		}
		seen.look("the log of "+name, []byte(log))
	}
	for _, path := range []string{
		"/api/v1/jobs/requests/" + id, "/api/v1/jobs/requests", "/api/v1/jobs/requests/" + id + "/tasks", "/api/v1/jobs/requests/" + id + "/explain",
		"/api/v1/secrets", "/api/v1/orgs/default/secrets", "/api/v1/audit", "/api/v1/audit/export", "/api/v1/artifacts",
	} {
		text, err := w.text(path)
		if err != nil {
			t.Fatal(err)
		}
		seen.look("GET "+path, []byte(text))
	}
	seen.look("pg_dump", w.dump())
	up.signal(syscall.SIGTERM)
	files := seen.files(w.dir)
	if seen.looks < 15 || files < 100 {
		t.Errorf("only %d places and %d files were looked at", seen.looks, files)
	}
}

// needles are the forms in which values are looked for.
func needles(values ...string) map[string]string {
	all := map[string]string{}
	for _, v := range values {
		all[v] = "it"
		all[url.QueryEscape(v)] = "it, escaped"
		all[hex.EncodeToString([]byte(v))] = "hex"
		for i := range 3 { // what stands before it moves the groups of base64
			s := base64.StdEncoding.EncodeToString(append(make([]byte, i), v...))
			all[s[4:len(s)-4]] = "base64"
		}
	}
	return all
}

// haystack is where needles must not be.
type haystack struct {
	t       *testing.T
	needles map[string]string
	looks   int
}

func (h *haystack) look(where string, text []byte) {
	h.t.Helper()
	h.looks++
	for needle, form := range h.needles {
		if i := bytes.Index(text, []byte(needle)); i >= 0 {
			h.t.Errorf("%s holds the secret (%s): …%q…", where, form, text[max(i-80, 0):min(i+len(needle)+20, len(text))])
		}
	}
}

// files looks at all files below a directory and returns how many there are.
func (h *haystack) files(dir string) (n int) {
	h.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		h.look(path, text)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// dump is all that PostgreSQL holds, as text.
func (w *world) dump() []byte {
	w.t.Helper()
	bin, err := cluster.Binaries()
	if err != nil {
		w.t.Fatal(err)
	}
	dsn, err := w.colony().DSN("job-manager")
	if err != nil {
		w.t.Fatal(err)
	}
	at, err := pgx.ParseConfig(dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	var faults bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(bin, "pg_dump"), "--inserts", "--username=formicary", "--host="+at.Host,
		fmt.Sprint("--port=", at.Port), "--dbname="+at.Database)
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("pg_dump: %v: %s", err, faults.String())
	}
	if !bytes.Contains(out, []byte("canary")) { // the name of the job
		w.t.Error("the dump is not whole")
	}
	return out
}

// text makes a call and returns its answer.
func (w *world) text(path string) (string, error) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+path, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "text/plain, application/json;q=0.9, */*;q=0.1")
	res, err := w.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, res.Status, text)
	}
	return string(text), err
}
