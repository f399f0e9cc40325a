package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// visitor makes calls over the network with a credential, or with none.
type visitor struct {
	*world
	token string
}

// ask makes a call with headers (names and values in turn) and returns its status and body.
func (v visitor) ask(verb, path, body string, headers ...string) (code int, answer string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), verb, v.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(body, "\njob_type:") {
		req.Header.Set("Content-Type", "application/yaml")
	}
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// must makes a call that works and decodes its answer.
func (v visitor) must(verb, path, body string, out any) {
	v.t.Helper()
	code, answer := v.ask(verb, path, body)
	if code != http.StatusOK {
		v.t.Fatalf("%s %s: %d %s", verb, path, code, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal([]byte(answer), out); err != nil {
		v.t.Fatalf("%s %s: %v in %s", verb, path, err, answer)
	}
}

// fails makes a call that is refused with one of the statuses, and says so of no other.
func (v visitor) fails(want []int, verb, path, body string, headers ...string) string {
	v.t.Helper()
	code, answer := v.ask(verb, path, body, headers...)
	if slices.Contains(want, code) {
		return answer
	}
	v.t.Errorf("%s %s %s: %d, want %v: %s", verb, path, body, code, want, answer)
	return answer
}

// guarded starts a colony that asks for a login, and returns its first administrator.
func (w *world) guarded(flags ...string) visitor {
	w.t.Helper()
	w.embedded(append([]string{"--auth", "--local-users"}, flags...)...)
	var code string
	w.eventually("the code of the first start", func() bool {
		log, err := os.ReadFile(filepath.Join(w.dir, "up.log"))
		if err != nil {
			return false
		}
		found := regexp.MustCompile(`(?m)^  (fmc_\S+)$`).FindSubmatch(log)
		if found != nil {
			code = string(found[1])
		}
		return found != nil
	})
	var in struct{ Secret string }
	visitor{world: w}.must("POST", "/api/v1/auth/bootstrap", fmt.Sprintf(`{"code":%q,"user":"root-admin","password":"correct horse battery"}`, code), &in)
	admin := visitor{w, in.Secret}
	return admin
}

// member makes a user with a role and logs it in.
func (v visitor) member(name, org, role string) visitor {
	v.t.Helper()
	v.must("POST", "/api/v1/users", fmt.Sprintf(`{"name":%q,"org":%q,"role":%q,"password":"correct horse battery"}`, name, org, role), nil)
	var in struct{ Secret string }
	visitor{world: v.world}.must("POST", "/api/v1/auth/login", fmt.Sprintf(`{"user":%q,"password":"correct horse battery"}`, name), &in)
	return visitor{v.world, in.Secret}
}

const knownJob = `
job_type: known
tasks:
  - {task_type: gate, method: MANUAL, on_exit_code: {APPROVED: COMPLETED, REJECTED: FAILED}}
`

// TestKnownFaultsOfOthers tries, against a colony that asks for a login, what other engines of this kind let through.
func TestKnownFaultsOfOthers(t *testing.T) {
	w := newWorld(t)
	admin := w.guarded()
	anonymous := visitor{world: w}
	admin.must("POST", "/api/v1/orgs", `{"id":"rival"}`, nil)
	viewer, developer := admin.member("vera", "default", "org-viewer"), admin.member("dave", "default", "org-developer")
	rival := admin.member("eve", "rival", "org-admin")
	developer.must("POST", "/api/v1/jobs/definitions", knownJob, nil)
	var sub struct{ Request struct{ ID string } }
	developer.must("POST", "/api/v1/jobs/requests", `{"job_type":"known"}`, &sub)
	request := "/api/v1/jobs/requests/" + sub.Request.ID
	w.eventually("the job waits for its approval", func() bool {
		_, answer := developer.ask("GET", request, "")
		return strings.Contains(answer, `"MANUAL_APPROVAL_REQUIRED"`)
	})
	unknown, denied, absent := []int{http.StatusUnauthorized}, []int{http.StatusForbidden}, []int{http.StatusNotFound}
	nobody := []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed}

	// A login that is skipped by how a path ends, or how it is written (Kestra, Prefect).
	for _, path := range []string{
		"/api/v1/jobs/requests", request, "/api/v1/orgs/default/configs", "/api/v1/configs", "/api/v1/orgs/default/secrets", "/api/v1/jobs/known/configs",
	} {
		for _, form := range []string{
			"%s", "%s/configs", "%s/health", "%s/ready", "%s/readyz", "%s/livez", "%s?/configs", "%s?x=/readyz", "%s;/readyz", "%s%%2freadyz", "%s/../readyz", "/livez/..%s",
			"//%s", "%s/", "/readyz/%s", "/api/v1/auth/ways/..%s", "%s/openapi.json",
		} {
			anonymous.fails(nobody, "GET", fmt.Sprintf(form, path), "")
		}
	}
	anonymous.fails(nobody, "POST", "/api/v1/jobs/requests/configs", `{"job_type":"known"}`)
	anonymous.fails(unknown, "POST", "/api/v1/jobs/requests", `{"job_type":"known"}`, "X-Formicary-User", "root-admin", "X-Formicary-Roles", "platform-admin")
	// Streams and WebSockets without a login (Prefect).
	anonymous.fails(unknown, "GET", "/api/v1/events", "")
	anonymous.fails(unknown, "GET", request+"/tasks/gate/log?follow=true", "", "Accept", "text/event-stream")
	anonymous.fails(unknown, "GET", "/ws/ants", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	// A reader who may execute by another verb, also by naming a role or a user (n8n).
	for _, call := range []string{"cancel", "restart", "pause", "resume"} {
		viewer.fails(denied, "POST", request+"/"+call, `{}`)
		viewer.fails(denied, "POST", request+"/"+call, `{}`, "X-Formicary-Roles", "org-admin", "X-Formicary-User", "root-admin", "X-HTTP-Method-Override", "GET")
	}
	viewer.fails(denied, "POST", "/api/v1/jobs/requests", `{"job_type":"known"}`)
	viewer.fails(denied, "POST", "/api/v1/jobs/definitions", knownJob)
	// An approval by who says to be somebody else (Woodpecker).
	vote := request + "/tasks/gate/vote"
	viewer.fails(denied, "POST", vote, `{}`, "X-Formicary-User", "root-admin", "X-Formicary-Roles", "platform-admin")
	developer.fails(denied, "POST", vote, `{}`, "X-Formicary-User", "root-admin", "X-Formicary-Roles", "org-operator")
	// A job of others by its name or its id (heym).
	rival.fails(absent, "GET", request, "")
	rival.fails(absent, "POST", "/api/v1/jobs/requests", `{"job_type":"known"}`)
	rival.must("POST", "/api/v1/jobs/definitions", "\njob_type: thief\ntasks:\n  - {task_type: fork, method: FORK_JOB, fork_job_type: known}\n", nil)
	var stolen struct{ Request struct{ ID string } }
	rival.must("POST", "/api/v1/jobs/requests", `{"job_type":"thief"}`, &stolen)
	w.eventually("the job that forks another's has failed", func() bool {
		_, answer := rival.ask("GET", "/api/v1/jobs/requests/"+stolen.Request.ID, "")
		if strings.Contains(answer, `"COMPLETED"`) {
			t.Fatalf("it forked the job of another organisation: %s", answer)
		}
		return strings.Contains(answer, `"FAILED"`)
	})
	// What loosens the sandbox by a value that is submitted (Argo): it is a value and no structure.
	developer.must("POST", "/api/v1/jobs/definitions", "\njob_type: patched\nparams: [{name: image, type: string}]\ntasks:\n"+
		"  - {task_type: run, method: SHELL, environment: {IMAGE: '{{.image}}'}, script: ['printf %s \"$IMAGE\" | od -c | head -2']}\n", nil)
	developer.must("POST", "/api/v1/jobs/requests", `{"job_type":"patched","params":{"image":"x\nprivileged: true\nhost_network: true"}}`, &sub)
	w.eventually("a value stays one", func() bool {
		_, answer := developer.ask("GET", "/api/v1/jobs/requests/"+sub.Request.ID, "")
		return strings.Contains(answer, `"COMPLETED"`)
	})
	// One bad object that ends a loop for all (Argo): whatever is refused or fails, the next job runs.
	for _, bad := range []string{`{"job_type":"patched","params":{"image":"\u0000"}}`, `{"job_type":"patched","scheduled_at":"never"}`, `{"job_type":"` + strings.Repeat("x", 5000) + `"}`} {
		if code, answer := developer.ask("POST", "/api/v1/jobs/requests", bad); code != http.StatusBadRequest {
			t.Errorf("%.60s: %d %s", bad, code, answer)
		}
	}
	developer.must("POST", "/api/v1/jobs/requests", `{"job_type":"patched","params":{"image":"y"}}`, &sub)
	w.eventually("the next job runs", func() bool {
		_, answer := developer.ask("GET", "/api/v1/jobs/requests/"+sub.Request.ID, "")
		return strings.Contains(answer, `"COMPLETED"`)
	})
	// A token that goes on after it was revoked, and credentials in logs (what had this name before).
	var made struct {
		Token  struct{ ID string }
		Secret string
	}
	developer.must("POST", "/api/v1/tokens", `{"name":"ci"}`, &made)
	program := visitor{w, made.Secret}
	program.must("GET", "/api/v1/jobs/requests", "", nil)
	developer.must("DELETE", "/api/v1/tokens/"+made.Token.ID, "", nil)
	w.eventually("the token is refused", func() bool {
		code, _ := program.ask("GET", "/api/v1/jobs/requests", "")
		return code == http.StatusUnauthorized
	})
	log, err := os.ReadFile(filepath.Join(w.dir, "up.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{admin.token, developer.token, made.Secret, "correct horse"} {
		if strings.Contains(string(log), secret) {
			t.Error("the log of the colony holds a credential")
		}
	}
}
