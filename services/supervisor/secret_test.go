package supervisor_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// secretService gives the secrets that it has, and notes what it was asked for.
type secretService struct {
	jobv1.UnimplementedSecretServiceServer

	mu     sync.Mutex
	values map[string]string
	away   bool
	asked  []*jobv1.SecretQuery
}

func (s *secretService) set(away bool, values map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.values = away, values
}

func (s *secretService) ResolveSecrets(_ context.Context, req *jobv1.ResolveSecretsRequest) (*jobv1.ResolveSecretsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errs.Unavailable("AWAY", "job-manager is away")
	}
	res := &jobv1.ResolveSecretsResponse{}
	for _, q := range req.GetQueries() {
		s.asked = append(s.asked, q)
		a := &jobv1.SecretAnswer{}
		for _, name := range q.GetNames() {
			if v, ok := s.values[name]; ok {
				a.Values = append(a.Values, &jobv1.SecretValue{Name: name, Value: v, Version: 1})
			} else {
				a.Faults = append(a.Faults, &jobv1.SecretFault{Name: name, Reason: "SECRET_NOT_FOUND", Message: "there is none of this name"})
			}
		}
		res.Answers = append(res.Answers, a)
	}
	return res, nil
}

// found lists the tables of the schema in which one of the values stands, in any form.
func (w *world) found(values ...string) (tables []string) {
	w.t.Helper()
	m := mask.New(values)
	rows, err := w.pool.Query(w.t.Context(), `SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			w.t.Fatal(err)
		}
		names = append(names, name)
	}
	if rows.Err() != nil || len(names) < 5 {
		w.t.Fatalf("%d tables, %v", len(names), rows.Err())
	}
	for _, name := range names {
		var all string
		if err := w.pool.QueryRow(w.t.Context(), "SELECT coalesce(string_agg(t::text, ' '), '') FROM "+name+" t").Scan(&all); err != nil {
			w.t.Fatal(err)
		}
		if m.Holds(all) {
			tables = append(tables, name)
		}
	}
	return tables
}

const secretTasks = `job_type: job
tasks:
- task_type: call
  method: SHELL
  secrets: [TOKEN, {name: db-password, env: DB}]
  environment: {AUTHORIZATION: "Bearer {{.TOKEN}}"}
  variables: {password: "{{.DB}}"}
  script: [call]
- task_type: build
  method: SHELL
  secrets: [TOKEN, {name: key, file: ssh/id}]
  script: ['login {{.TOKEN}}']
- task_type: plain
  method: SHELL
  script: [plain]
- task_type: lacking
  method: SHELL
  secrets: [nowhere]
  script: [x]
  allow_failure: true
- task_type: tells
  method: SHELL
  secrets: [TOKEN]
  allow_failure: true
  script: ['{{SubmitJob "other" "d" (printf "A=%v" .TOKEN)}}']
- task_type: names
  method: SHELL
  secrets: [TOKEN]
  allow_failure: true
  artifact_ids: ['{{.TOKEN}}']
  script: [x]
`

// TestSecretsGoWithTheClaim gives each task the secrets that it names, and no other; nothing of them is kept.
func TestSecretsGoWithTheClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	values := map[string]string{"TOKEN": "canary-token-8472", "db-password": "canary \"db\" 11", "key": "canary-key\nline-two", "unused": "never-asked"}
	w.secrets.set(true, values)
	id := w.admitText(secretTasks)
	c := w.newClaimer("ant1", 8)
	uids := c.placed("call", "build", "plain", "lacking", "tells", "names")
	works, err := c.claim(20*time.Second, true, uids...)
	if err != nil {
		t.Fatal(err)
	}
	for i, work := range works {
		if plain := i == 2; plain != (work.GetLater() == "") {
			t.Errorf("while job-manager is away: %d: %q", i, work.GetLater())
		}
	}
	w.secrets.set(false, values)
	if works, err = c.claim(20*time.Second, true, uids...); err != nil {
		t.Fatal(err)
	}
	call, build := works[0], works[1]
	if s := call.GetSpec(); s.GetEnvironment()["AUTHORIZATION"] != "Bearer canary-token-8472" || s.GetVariables().GetFields()["password"].GetStringValue() != values["db-password"] {
		t.Errorf("the call is %v", s)
	}
	if s := build.GetSpec(); s.GetScript()[0] != "login canary-token-8472" || s.GetEnvironment()["TOKEN"] != "" {
		t.Errorf("the script is %v", s)
	}
	want := []*antv1.Secret{
		{Name: "TOKEN", Value: values["TOKEN"], Env: "TOKEN"},
		{Name: "key", Value: values["key"], File: "ssh/id", FileEnv: "key_FILE"},
	}
	if !slices.EqualFunc(build.GetSecrets(), want, func(a, b *antv1.Secret) bool { return proto.Equal(a, b) }) || len(build.GetMasks()) != 2 {
		t.Errorf("the task gets %v", build.GetSecrets())
	}
	if raw, _ := proto.Marshal(works[2]); strings.Contains(string(raw), "canary") || len(works[2].GetMasks()) > 0 {
		t.Errorf("another task gets %v", works[2])
	}
	for task, why := range map[string]string{"lacking": "the secret nowhere: there is none of this name [SECRET_NOT_FOUND]", "tells": "gives a secret to a function that submits", "names": "in artifact_ids is no id of an artifact"} {
		if got := w.taskBecomes(id, task, executionv1.Task_FAILED); !strings.Contains(fmt.Sprint(got), why) {
			t.Errorf("%s: %v", task, got)
		}
	}
	w.secrets.mu.Lock()
	for _, q := range w.secrets.asked {
		if q.GetOrgId() != "default" || q.GetJobType() != "job" || q.GetUser() != "sam" || q.GetRequestId() != id || slices.Contains(q.GetNames(), "unused") {
			t.Errorf("asked for %v", q)
		}
	}
	w.secrets.mu.Unlock()
	for _, uid := range uids[:3] {
		c.ends(uid, &antv1.Result{Outcome: antv1.Result_SUCCEEDED})
	}
	testkit.Eventually(t, 30*time.Second, "it ends", func() bool { return w.execution(id).GetEndedAt() != nil })
	if tables := w.found("canary-token-8472", values["db-password"], values["key"]); len(tables) > 0 {
		t.Errorf("a secret stands in %v", tables)
	}
}
