package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBadInputIsRefusedWithItsPlace uploads what must not be stored.
func TestBadInputIsRefusedWithItsPlace(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	shell := func(name, next string) string {
		return fmt.Sprintf("  - task_type: %s\n    method: SHELL\n    script: [\"true\"]\n    on_completed: %s\n", name, next)
	}
	var aliases strings.Builder
	aliases.WriteString("job_type: bad\nbombs:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&aliases, "  a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	tests := append([]faulty{
		{"cycle", "job_type: bad\ntasks:\n" + shell("a", "b") + shell("b", "a"), "CYCLE", true},
		{"unknown target", "job_type: bad\ntasks:\n" + shell("a", "nowhere"), "nowhere", true},
		{"duplicate", "job_type: bad\ntasks:\n" + shell("a", "b") + shell("b", "c") + shell("b", "c") + shell("c", "COMPLETED"), "b", true},
		{"oversized", "job_type: bad\ndescription: " + strings.Repeat("x", 1<<20) + "\n", "", false},
		{"malformed", "job_type: bad\ntasks:\n  - task_type: [a\n", "", true},
		{"unknown field", "job_type: bad\ntasks:\n  - task_type: a\n    method: SHELL\n    scrpit: [x]\n", "script", true},
		{"template bomb", "job_type: bad\ntasks:\n{{range $i := Iterate 10000}}{{range $j := Iterate 10000}}{{range $k := Iterate 10000}}x{{end}}{{end}}{{end}}\n", "", true},
		{"alias bomb", aliases.String(), "", false},
		{"deep", "job_type: bad\ntasks: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n", "", true},
	}, faultyFields()...)
	place := regexp.MustCompile(`:\d+:\d+`)
	const limit = 100 * time.Millisecond
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			best := time.Hour
			for try := 0; try < 3 || try < 20 && best > limit; try++ { // the machine is shared: the best counts
				began := time.Now()
				code, err := w.call(http.MethodPost, "/api/v1/jobs/definitions", "application/yaml", []byte(tt.yaml), nil)
				best = min(best, time.Since(began))
				if code < 400 || code >= 500 || err == nil {
					t.Fatalf("answered %d, %v", code, err)
				}
				if !strings.Contains(err.Error(), tt.says) || tt.placed && !place.MatchString(err.Error()) {
					t.Fatalf("answer %v", err)
				}
			}
			if best > limit {
				t.Errorf("refused after %s", best)
			}
		})
	}
	var list struct {
		Definitions []any `json:"definitions"`
	}
	if _, err := w.call(http.MethodGet, "/api/v1/jobs/definitions", "application/json", nil, &list); err != nil || len(list.Definitions) > 0 {
		t.Errorf("stored %v, %v", list.Definitions, err)
	}
	w.audit()
}

// TestExplainNamesWhatHoldsARequest asks why a request waits.
func TestExplainNamesWhatHoldsARequest(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	w.define("job_type: e2e-one\nmax_concurrency: 1\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"sleep 60\"]\n")
	holder := w.submit("e2e-one", "holder", nil)
	w.eventually("the first runs", func() bool {
		r, ok := w.get(holder)
		return ok && r.State == "EXECUTING"
	})
	second := w.submit("e2e-one", "second", nil)
	w.explains(second, holder)

	w.define("job_type: e2e-gpu\ntasks:\n  - task_type: a\n    method: SHELL\n    tags: [gpu]\n    script: [\"true\"]\n")
	w.explains(w.submit("e2e-gpu", "gpu", nil), "gpu")
	w.define("job_type: e2e-docker\ntasks:\n  - task_type: a\n    method: DOCKER\n    script: [\"true\"]\n")
	w.explains(w.submit("e2e-docker", "docker", nil), "DOCKER")

	if _, err := w.call(http.MethodPost, "/api/v1/jobs/requests/"+holder+"/cancel", "application/json", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	w.eventually("the second runs", func() bool {
		r, ok := w.get(second)
		return ok && r.State == "EXECUTING"
	})
	if _, err := w.call(http.MethodPost, "/api/v1/jobs/requests/"+second+"/cancel", "application/json", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	w.ends(patience, second)
	w.audit()
}

// explains waits until the explanation of a request says what is wanted.
func (w *world) explains(id, want string) {
	w.t.Helper()
	var last string
	w.within(10*time.Second, fmt.Sprintf("explain of %s says %q", id, want), func() bool {
		out, code := w.cli("request", "explain", id)
		last = out
		return code == 0 && strings.Contains(out, want)
	})
	w.t.Logf("explain: %s", last)
}
