package docker

import (
	"context"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	dockerregistry "github.com/docker/docker/api/types/registry"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// withRegistry starts a registry that knows one user and has busybox under the returned name.
func withRegistry(t *testing.T, e *Executor) (name string) {
	t.Helper()
	lis := enginetest.Shared(t).Listen(t)
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(lis)
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
	name = lis.Addr().String() + "/team/busybox:1"
	auth, err := dockerregistry.EncodeAuthConfig(dockerregistry.AuthConfig{Username: "ann", Password: "secret"})
	if err == nil {
		err = e.engine().ImageTag(t.Context(), enginetest.Busybox, name)
	}
	var said io.ReadCloser
	if err == nil {
		said, err = e.engine().ImagePush(t.Context(), name, image.PushOptions{RegistryAuth: auth})
	}
	if err != nil {
		t.Fatal(err)
	}
	words, err := io.ReadAll(said)
	_ = said.Close()
	if err != nil || strings.Contains(string(words), `"error"`) {
		t.Fatalf("push %s: %v %s", name, err, words)
	}
	t.Cleanup(func() { forget(t, e, name) })
	forget(t, e, name)
	return name
}

// forget removes a name of an image.
func forget(t *testing.T, e *Executor, name string) {
	t.Helper()
	_, _ = e.engine().ImageRemove(context.WithoutCancel(t.Context()), name, image.RemoveOptions{})
}

func TestPull(t *testing.T) {
	e := start(t, nil)
	name := withRegistry(t, e)
	host, _, _ := strings.Cut(name, "/")
	known := start(t, func(c *Config) { c.Logins = map[string]Login{host: {"ann", "secret"}} })
	run := func(e *Executor, image, policy string) (executor.End, string) {
		r := subject(t, e).Execute(t, in(t, executor.Task{Script: []string{"echo in it"}}, plan.Options{Container: &plan.Container{Image: image, PullPolicy: policy}}), nil)
		return r.End, strings.Join(r.Notes, "\n")
	}
	if end, _ := run(e, name, ""); end.Class != executor.Infra || !strings.Contains(end.Message, name) || !strings.Contains(end.Message, "who are you") && !strings.Contains(end.Message, "no basic auth credentials") {
		t.Errorf("without a login: %+v", end)
	}
	if end, notes := run(known, name, ""); end.Class != executor.None || !strings.Contains(notes, "[pulled "+name) || end.Usage.Pull <= 0 {
		t.Errorf("with a login: %+v, %s", end, notes)
	}
	if end, notes := run(known, name, ""); end.Class != executor.None || notes != "" || end.Usage.Pull != 0 {
		t.Errorf("what is there is pulled again: %+v, %s", end, notes)
	}
	if end, notes := run(known, name, plan.PullAlways); end.Class != executor.None || !strings.Contains(notes, "[pulled ") {
		t.Errorf("always: %+v, %s", end, notes)
	}
	if end, _ := run(known, host+"/team/nothing:1", ""); end.Class != executor.Rejected || !strings.Contains(end.Message, "nothing:1") || !strings.Contains(strings.ToLower(end.Message), "unknown") {
		t.Errorf("what the registry does not have: %+v", end)
	}
	for _, policy := range []string{plan.PullMissing, plan.PullAlways} {
		if end, _ := run(known, "BAD IMAGE!!", policy); end.Class != executor.Rejected || !strings.Contains(end.Message, "names no image") {
			t.Errorf("no name, %s: %+v", policy, end)
		}
	}
	r := subject(t, e).Execute(t, in(t, executor.Task{Script: []string{"true"}}, plan.Options{Container: &plan.Container{User: "nosuchuser"}}), nil)
	if r.End.Class != executor.Rejected || !strings.Contains(r.End.Message, "lacks the user") {
		t.Errorf("no such user: %+v", r.End)
	}
	if end, _ := run(known, "127.0.0.1:1/x:1", ""); end.Class != executor.Infra || !strings.Contains(end.Message, "connection refused") {
		t.Errorf("no registry: %+v", end)
	}
	forget(t, e, name)
	if end, _ := run(known, name, plan.PullNever); end.Class != executor.Rejected || !strings.Contains(end.Message, "none is pulled") {
		t.Errorf("never: %+v", end)
	}
	strict := start(t, func(c *Config) { c.Pull = PullNever })
	if end, notes := run(strict, name, plan.PullAlways); end.Class != executor.Infra || !strings.Contains(notes, "this ant says never") {
		t.Errorf("an ant that never pulls: %+v, %s", end, notes)
	}
}

// The fields of the process of a container reach the container.
func TestProcessOfAContainer(t *testing.T) {
	e := start(t, nil)
	c := &plan.Container{User: "1234:55", ShmSize: 8 << 20, PIDsLimit: 50, ExtraHosts: map[string]string{"db.test": "10.9.8.7"}}
	r := subject(t, e).Execute(t, in(t, executor.Task{Script: []string{
		"echo $(id -u):$(id -g)", "df -k /dev/shm | tail -n 1 | { read _ size _; echo $size; }", "grep db.test /etc/hosts", "touch x",
	}}, plan.Options{Container: c, NetworkMode: "bridge"}), nil)
	if got := strings.Fields(r.Stdout); !slices.Equal(got, []string{"1234:55", "8192", "10.9.8.7", "db.test"}) {
		t.Errorf("%+v, %q", r.End, got)
	}
	for want, c := range map[string]*plan.Container{
		"docker-allow-root": {User: "root"}, "docker-pids": {PIDsLimit: 5000}, "extra_hosts": {ExtraHosts: map[string]string{"a": "b"}},
	} {
		if _, err := specOf(t, nil, "", plan.Options{Container: c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	s, err := specOf(t, nil, "", plan.Options{Container: &plan.Container{PIDsLimit: 50}})
	if err != nil || *s.host.PidsLimit != 50 {
		t.Error(err)
	}
	web := beside("web", `echo "$GREETING" >/tmp/index.html; exec httpd -f -p 80 -h /tmp`, 80)
	web.Environment = map[string]string{"GREETING": "it's me"}
	if r := withServices(t, start(t, func(c *Config) { c.AllowRoot = true }), plan.Options{Services: []plan.Sidecar{web}}, executor.Task{Script: []string{"wget -q -O - http://web"}}); r.Stdout != "it's me\n" {
		t.Errorf("%+v, %q", r.End, r.Stdout)
	}
}
