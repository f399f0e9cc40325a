package up

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/testkit"
	worker "github.com/formicary/formicary/services/ant/workers/go"
)

const workersJob = `job_type: workers
tasks:
  - task_type: socket
    method: WEBSOCKET
    tags: [greeter]
    variables: {whom: socket}
    on_completed: message
  - task_type: message
    method: MESSAGING
    messaging_request_queue: greetings
    variables: {whom: message}
`

// A job whose tasks are done by a worker at /ws/ants of the colony's own address, and by one that listens on NATS.
func TestWorkersOfTheEmbeddedColony(t *testing.T) {
	dir, err := os.MkdirTemp("", "fup-") //nolint:usetesting // PostgreSQL may run as another user, who cannot pass the parents of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	conf := DefaultConfig()
	conf.DataDir, conf.Listen, conf.Throwaway, conf.Expose = filepath.Join(dir, "data"), "127.0.0.1:0", true, true
	c, err := New(conf, testkit.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan colony.Colony, 1)
	testkit.Run(t, func(ctx context.Context) error { return c.Run(ctx, func(col colony.Colony) { ready <- col }) })
	var col colony.Colony
	select {
	case col = <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the colony is not ready")
	}
	greet := func(_ context.Context, task worker.Task) (worker.Result, error) {
		task.Log("hello %v", task.Variables["whom"])
		return worker.Result{Outputs: map[string]any{fmt.Sprint(task.Variables["whom"]): true}}, nil
	}
	for _, w := range []worker.Config{
		{ID: "greeter", URL: "ws://" + col.HTTP + "/ws/ants", Tags: []string{"greeter"}, Handler: greet},
		{ID: "listener", URL: col.NATS, Queue: "greetings", Handler: greet},
	} {
		w.Log = testkit.Logger(t)
		testkit.Run(t, func(ctx context.Context) error { return worker.Run(ctx, w) })
	}
	api := "http://" + col.HTTP + "/api/v1/jobs/"
	post(t, api+"definitions", "application/yaml", workersJob)
	var submitted struct {
		Request struct {
			ID string `json:"id"`
		} `json:"request"`
	}
	answer := post(t, api+"requests", "application/json", `{"job_type":"workers"}`)
	if err := json.Unmarshal(answer, &submitted); err != nil || submitted.Request.ID == "" {
		t.Fatalf("%s: %v", answer, err)
	}
	state := ""
	testkit.Eventually(t, 30*time.Second, "the job is completed", func() bool {
		state = get(t, api+"requests/"+submitted.Request.ID)
		return bytes.Contains([]byte(state), []byte(`"COMPLETED"`)) || bytes.Contains([]byte(state), []byte(`"FAILED"`))
	})
	if !bytes.Contains([]byte(state), []byte(`"COMPLETED"`)) {
		t.Errorf("%s", state)
	}
}

func post(t *testing.T, url, kind, body string) []byte {
	t.Helper()
	res, err := http.Post(url, kind, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		t.Fatalf("%s: %d %s, %v", url, res.StatusCode, text, err)
	}
	return text
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
