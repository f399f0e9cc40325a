package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/formicary/examples"
)

// cacheUse is what the API tells of the cache of an attempt.
type cacheUse struct {
	Outcome string `json:"outcome"`
	Key     string `json:"key"`
	Found   string `json:"found_key"`
	Local   bool   `json:"local"`
	Bytes   string `json:"bytes"`
	Stored  string `json:"stored_bytes"`
	Saved   string `json:"saved_millis"`
}

const warm = `
job_type: warm
required_params: [deps]
tasks:
  - task_type: lock
    method: SHELL
    script: ['echo {{.deps}} > deps.lock']
    artifacts: {paths: [deps.lock]}
    on_completed: build
  - task_type: build
    method: SHELL
    dependencies: [lock]
    cache: {key: deps, key_paths: ['*.lock'], restore_keys: [deps-], paths: [vendor, '**/*.idx'], expires_after: 1h}
    script:
      - 'echo "::set-output name=had::$(cat vendor/lib || echo nothing)"'
      - 'echo "::set-output name=index::$(cat deep/er/a.idx || echo nothing)"'
      - mkdir -p vendor deep/er
      - cp deps.lock vendor/lib && cp deps.lock deep/er/a.idx
    on_completed: exact
  - task_type: exact
    method: SHELL
    cache: {key: 'k-{{.deps}}', paths: [x]}
    script: ['echo "::set-output name=seen::$(cat x || echo nothing)"', 'echo {{.deps}} > x']
    on_completed: late
  - task_type: late
    method: SHELL
    cache: {key_paths: [src/lock], paths: [out]}
    script: ['mkdir src && echo {{.deps}} > src/lock', 'echo made > out']
`

// A second run finds what the first has left, under the same key or, when that changes, under what begins like it; what is
// stored under a key never changes; the ant's own copy spares the transfer.
func TestCaches(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	w.define(warm)
	run := func(key, deps string) string {
		t.Helper()
		id := w.submit("warm", key, map[string]any{"deps": deps})
		w.finishes(id, "COMPLETED")
		return id
	}
	expect := func(id, task, outcome string, outputs map[string]string) cacheUse {
		t.Helper()
		x := w.task(id, task)
		for name, want := range outputs {
			if x.Outputs[name] != want {
				t.Errorf("%s: %s is %q, want %q", task, name, x.Outputs[name], want)
			}
		}
		use := x.Attempts[0].Cache
		if use == nil {
			t.Fatalf("%s tells nothing of its cache", task)
		}
		if use.Outcome != outcome {
			t.Errorf("%s: %+v, want %s", task, use, outcome)
		}
		return *use
	}
	first := run("1", "a")
	cold := expect(first, "build", "MISS", map[string]string{"had": "nothing", "index": "nothing"})
	expect(first, "exact", "MISS", map[string]string{"seen": "nothing"})
	expect(first, "late", "MISS", nil)
	if !strings.HasPrefix(cold.Key, "deps-") || cold.Stored == "0" {
		t.Errorf("%+v", cold)
	}

	second := run("2", "a")
	hit := expect(second, "build", "HIT", map[string]string{"had": "a", "index": "a"})
	if hit.Found != cold.Key || !hit.Local || hit.Bytes != cold.Stored || hit.Stored != "0" {
		t.Errorf("%+v after %+v", hit, cold)
	}
	expect(second, "exact", "HIT", map[string]string{"seen": "a"})
	expect(second, "late", "MISS", nil) // its files come too late to be looked for; nothing is stored twice

	third := run("3", "b")
	other := expect(third, "build", "PARTIAL", map[string]string{"had": "a", "index": "a"})
	if other.Found != cold.Key || other.Key == cold.Key || other.Stored == "0" {
		t.Errorf("%+v after %+v", other, cold)
	}
	expect(third, "exact", "MISS", map[string]string{"seen": "nothing"})
	expect(run("4", "b"), "build", "HIT", map[string]string{"had": "b", "index": "b"})

	w.listsCaches(second, cold.Key)
	w.warmExample()
	w.audit()
}

// warmExample runs the example twice: the second time it finds what the first has installed.
func (w *world) warmExample() {
	w.t.Helper()
	example, found, err := examples.Find("ci-cache")
	if err != nil || !found {
		w.t.Fatal(err)
	}
	w.define(example.Text)
	for _, want := range []any{nil, "yes"} {
		id := w.submit("ci-cache", fmt.Sprint("example-", want), nil)
		w.finishes(id, "COMPLETED")
		if got := w.task(id, "build").Outputs["warm"]; got != want {
			w.t.Errorf("warm is %v, want %v", got, want)
		}
	}
}

// Containers get their caches as processes do: before they start, and of what they leave, also with an image without tar.
func TestCachesOfContainers(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	w := newWorld(t)
	w.embedded()
	w.define(strings.ReplaceAll(contained, "IMAGE", enginetest.Busybox))
	for i, want := range []string{"nothing", "kept"} {
		id := w.submit("contained", fmt.Sprint(i), nil)
		w.finishes(id, "COMPLETED")
		if x := w.task(id, "build"); x.Outputs["had"] != want || x.Attempts[0].Cache.Outcome != []string{"MISS", "HIT"}[i] {
			t.Errorf("had %q, %+v", x.Outputs["had"], x.Attempts[0].Cache)
		}
	}
	w.audit()
}

const contained = `
job_type: contained
tasks:
  - task_type: lock
    method: SHELL
    script: ['echo 1 > deps.lock']
    artifacts: {paths: [deps.lock]}
    on_completed: build
  - task_type: build
    method: DOCKER
    dependencies: [lock]
    container: {image: IMAGE}
    cache: {key: c, key_paths: [deps.lock], paths: [vendor]}
    script:
      - 'echo "::set-output name=had::$(cat vendor/lib || echo nothing)"'
      - mkdir -p vendor && echo kept > vendor/lib
`

// listsCaches looks at what people see of caches, and deletes them.
func (w *world) listsCaches(hit, key string) {
	w.t.Helper()
	var list struct {
		Caches []struct {
			ID        string    `json:"id"`
			Key       string    `json:"key"`
			Uses      string    `json:"uses"`
			CreatedAt time.Time `json:"created_at"`
			ExpiresAt time.Time `json:"expires_at"`
		}
		Total string `json:"total_bytes"`
		Quota string `json:"quota_bytes"`
	}
	if _, err := w.call(http.MethodGet, "/api/v1/caches?job_type=warm&key_prefix="+key, "", nil, &list); err != nil || len(list.Caches) != 1 {
		w.t.Fatalf("%+v, %v", list, err)
	}
	if c := list.Caches[0]; c.Key != key || c.Uses != "2" || c.ExpiresAt.Sub(c.CreatedAt) != time.Hour || list.Total == "0" || list.Quota != "10737418240" {
		w.t.Errorf("%+v", list)
	}
	if out, code := w.cli("request", "get", hit); code != 0 || !strings.Contains(out, key) || !strings.Contains(out, "RESTORED") {
		w.t.Errorf("request get: %d, %s", code, out)
	}
	if out, code := w.cli("request", "logs", hit, "build"); code != 0 || !strings.Contains(out, "restored the cache "+key) || !strings.Contains(out, "the ant's own copy") {
		w.t.Errorf("request logs: %d, %s", code, out)
	}
	if out, code := w.cli("cache", "list", "--job-type", "warm", "-o", "name"); code != 0 || strings.Count(out, "\n") != 6 {
		w.t.Errorf("cache list: %d, %q", code, out)
	}
	if out, code := w.cli("cache", "rm", list.Caches[0].ID); code != 0 {
		w.t.Errorf("cache rm: %d, %q", code, out)
	}
	if _, code := w.cli("cache", "rm", list.Caches[0].ID); code != 3 {
		w.t.Errorf("cache rm of what is gone ends with %d", code)
	}
	if out, code := w.cli("cache", "rm", "--job-type", "warm"); code != 0 {
		w.t.Errorf("cache rm: %d, %q", code, out)
	}
	if out, code := w.cli("cache", "list"); code != 0 || !strings.Contains(out, "0 B of 10.0 GiB") {
		w.t.Errorf("cache list: %d, %q", code, out)
	}
}
