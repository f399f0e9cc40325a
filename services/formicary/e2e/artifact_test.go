package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Files pass from task to task, to people whole and in parts, and from people to tasks.
func TestArtifacts(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	w.define(`
job_type: files
tasks:
  - task_type: build
    method: SHELL
    script:
      - mkdir -p out/deep
      - printf hello > out/a.txt
      - head -c 3000000 /dev/urandom > out/deep/big.bin
      - sha256sum out/deep/big.bin > out/sum
      - ln -s ../a.txt out/deep/link
      - env | grep -i -E 'x-amz|signature|secret_key' && exit 9 || true
    artifacts: {paths: [out]}
    on_completed: use
  - task_type: use
    method: SHELL
    dependencies: [build]
    artifacts_dir: in
    script:
      - cd in && sha256sum -c out/sum && test "$(cat out/deep/link)" = hello
      - echo more > ../more.txt
    artifacts: {paths: ["*.txt"], expires_after: 1h}
`)
	id := w.submit("files", "1", nil)
	w.finishes(id, "COMPLETED")

	out, code := w.cli("artifact", "list", "--request", "@latest", "--task", "build", "-o", "name")
	artifact := strings.TrimSpace(out)
	if code != 0 || artifact == "" || strings.Contains(artifact, "\n") {
		t.Fatalf("list: %d, %q", code, out)
	}
	if out, code := w.cli("artifact", "files", artifact, "-o", "name"); code != 0 || out != "out\nout/a.txt\nout/deep\nout/deep/big.bin\nout/deep/link\nout/sum\n" {
		t.Errorf("files: %d, %q", code, out)
	}
	if out, code := w.cli("artifact", "download", artifact, "out/deep/link", "--to", "-"); code != 0 || out != "hello" {
		t.Errorf("one file: %d, %q", code, out)
	}
	var of struct {
		Artifacts []struct {
			CreatedAt time.Time `json:"created_at"`
			ExpiresAt time.Time `json:"expires_at"`
		}
	}
	if _, err := w.call(http.MethodGet, "/api/v1/artifacts?task=use&request_id="+id, "", nil, &of); err != nil || len(of.Artifacts) != 1 {
		t.Fatalf("%+v, %v", of, err)
	}
	if a := of.Artifacts[0]; a.ExpiresAt.Sub(a.CreatedAt) != time.Hour {
		t.Errorf("kept from %s to %s", a.CreatedAt, a.ExpiresAt)
	}
	dir := t.TempDir()
	if out, code := w.cli("artifact", "download", artifact, "--to", dir); code != 0 {
		t.Fatalf("download: %d, %q", code, out)
	}
	big, err := os.ReadFile(filepath.Join(dir, "out/deep/big.bin"))
	if err != nil || len(big) != 3000000 {
		t.Errorf("%d bytes, %v", len(big), err)
	}
	w.downloads(artifact, big)

	w.uploads(dir)
	if out, code := w.cli("artifact", "rm", artifact); code != 0 {
		t.Errorf("rm: %d, %q", code, out)
	}
	if _, code := w.cli("artifact", "download", artifact, "--to", dir); code != 3 {
		t.Errorf("downloading what was deleted ends with %d", code)
	}
	w.audit()
}

// downloads reads an artifact over HTTP.
func (w *world) downloads(artifact string, big []byte) {
	w.t.Helper()
	get := func(query, span string, want int) []byte {
		w.t.Helper()
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.gateway()+"/api/v1/artifacts/"+artifact+"/download"+query, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if span != "" {
			req.Header.Set("Range", span)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != want {
			w.t.Errorf("%s %s: %s, %v", query, span, res.Status, err)
		}
		return raw
	}
	if got := get("?file=out/deep/big.bin", "bytes=2000000-2000099", http.StatusPartialContent); !bytes.Equal(got, big[2000000:2000100]) {
		w.t.Errorf("a range has %d bytes", len(got))
	}
	raw := get("?format=zip", "", http.StatusOK)
	if z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw))); err != nil || len(z.File) != 6 {
		w.t.Errorf("zip of %d bytes: %v", len(raw), err)
	}
	if raw := get("?format=tar", "", http.StatusOK); !bytes.Contains(raw, big[:1000]) {
		w.t.Errorf("tar of %d bytes", len(raw))
	}
	get("?file=nothing", "", http.StatusNotFound)
	get("?format=rar", "", http.StatusBadRequest)
}

// uploads sends files as a user and has a task use them.
func (w *world) uploads(dir string) {
	w.t.Helper()
	out, code := w.cli("artifact", "upload", filepath.Join(dir, "out", "a.txt"), "--name", "mine", "-o", "name")
	if code != 0 {
		w.t.Fatalf("upload: %d, %q", code, out)
	}
	w.define(fmt.Sprintf(`
job_type: from-user
tasks:
  - task_type: read
    method: SHELL
    artifact_ids: [%[1]s]
    script: [test "$(cat a.txt)" = hello]
  - task_type: again
    method: SHELL
    dependent_artifact_ids: [%[1]s]
    artifacts_dir: in
    script: [test "$(cat in/a.txt)" = hello]
`, strings.TrimSpace(out)))
	w.finishes(w.submit("from-user", "2", nil), "COMPLETED")

	var evil bytes.Buffer
	z := zip.NewWriter(&evil)
	if _, err := z.Create("../escape"); err != nil {
		w.t.Fatal(err)
	}
	_ = z.Close()
	if status, _ := w.send("", http.MethodPost, "/api/v1/artifacts?name=evil", "application/zip", evil.Bytes(), nil); status != http.StatusBadRequest {
		w.t.Errorf("a hostile zip file is answered with %d", status)
	}
}

// Of a task that fails what is kept is what is wanted of it then.
func TestArtifactsByOutcome(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	for when, want := range map[string]bool{"onSuccess": false, "onFailure": true, "always": true, "never": false} {
		w.define("job_type: " + when + "\ntasks:\n  - task_type: t\n    method: SHELL\n    script: ['echo x > f', 'exit 3']\n    artifacts: {paths: [f], when: " + when + "}\n")
		id := w.submit(when, when, nil)
		w.finishes(id, "FAILED")
		if out, code := w.cli("artifact", "list", "--request", id, "-o", "name"); code != 0 || (out != "") != want {
			t.Errorf("%s: %d, %q", when, code, out)
		}
	}
	w.audit()
}

// A path that names nothing fails its task, unless that is foreseen.
func TestMissingArtifacts(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	task := "\ntasks:\n  - task_type: t\n    method: SHELL\n    script: ['true']\n    artifacts: {paths: ['dist/*.js']%s}\n"
	w.define("job_type: must" + fmt.Sprintf(task, ""))
	w.define("job_type: may" + fmt.Sprintf(task, ", optional: true"))
	must, may := w.submit("must", "1", nil), w.submit("may", "2", nil)
	w.finishes(may, "COMPLETED")
	w.finishes(must, "FAILED")
	if got := w.task(must, "t"); !strings.Contains(got.Message, "dist/*.js") {
		t.Errorf("the failure says %q", got.Message)
	}
	w.audit()
}

// Tasks know the artifacts of those before them by addresses at the gateway, also those of items and of forked jobs, and get
// their files. Nothing that opens the object store is told to a task, over NATS or in a log.
func TestArtifactAddresses(t *testing.T) {
	w := newWorld(t)
	up := w.embedded("--expose")
	overheard := w.overhear()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(bytes.Repeat([]byte("0123456789"), 10_000))
	}))
	defer server.Close()
	w.define("job_type: part\ntasks:\n  - task_type: make\n    method: SHELL\n    script: ['echo child > child']\n    artifacts: {paths: [child]}\n")
	w.define(fmt.Sprintf(`
job_type: addresses
tasks:
  - task_type: each
    method: SHELL
    fan_out: {items: [a, b]}
    script: ['echo {{.item}} > "of-{{.item}}"']
    artifacts: {paths: ["of-*"]}
    on_completed: fork
  - task_type: fork
    method: FORK_JOB
    fork_job_type: part
    sub_workflow: {wait_for_completion: true}
    on_completed: ask
  - task_type: ask
    method: HTTP_GET
    url: %s
    on_completed: use
  - task_type: use
    method: SHELL
    dependencies: [each, fork, ask]
    script:
      - test "$(cat of-a of-b child)" = "$(printf 'a\nb\nchild')"
      - test "$(wc -c < response)" -eq 100000
      - test "$each_ArtifactURL_2" = '{{.each_ArtifactURL_2}}'
      - env
      - echo 'found {{.each_ArtifactURL_1}} {{.each_ArtifactURL_2}} {{.fork_ArtifactURL_1}} {{.ask_ArtifactURL_1}}'
`, server.URL))
	id := w.submit("addresses", "1", nil)
	w.finishes(id, "COMPLETED")
	log, code := w.cli("request", "logs", id, "--task", "use")
	_, found, ok := strings.Cut(log, "\nfound ")
	urls := strings.Fields(found)
	if code != 0 || !ok || len(urls) < 4 || len(slices.Compact(slices.Sorted(slices.Values(urls[:4])))) != 4 {
		t.Fatalf("the log is %q", log)
	}
	for _, address := range urls[:4] {
		res, err := w.http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", address, res.Status)
		}
	}
	out, _ := w.cli("request", "get", id)
	if !strings.Contains(out, "DOWNLOAD") {
		t.Errorf("no times of transfers: %s", out)
	}
	col := w.colony()
	told, err := os.ReadFile(up.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the log of a task": log, "NATS": overheard(), "the log of the colony": string(told)} {
		for _, secret := range []string{"X-Amz-", "uploadId=", "artifacts/default/", col.S3.AccessKey, col.S3.SecretKey} {
			if strings.Contains(text, secret) {
				t.Errorf("%s tells %q", where, secret)
			}
		}
	}
	w.audit()
}

// overhear takes all that is said over NATS, and returns it.
func (w *world) overhear() func() string {
	w.t.Helper()
	nc, err := nats.Connect(w.colony().NATS)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	var mu sync.Mutex
	var all bytes.Buffer
	if _, err := nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		all.Write(m.Data)
	}); err != nil {
		w.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		w.t.Fatal(err)
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if all.Len() == 0 {
			w.t.Error("nothing was said over NATS")
		}
		return all.String()
	}
}
