package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/formicary/examples"
)

// A task in a container of a real engine, from the definition to its log, and the refusal of what the ant does not allow.
func TestDocker(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	w := newWorld(t)
	w.embedded()
	example, found, err := examples.Find("ci-docker")
	if err != nil || !found {
		t.Fatal(err)
	}
	w.define(example.Text)
	beside, found, err := examples.Find("ci-services")
	if err != nil || !found {
		t.Fatal(err)
	}
	w.define(beside.Text)
	w.define(strings.ReplaceAll(passing, "IMAGE", enginetest.Busybox))
	w.define(strings.ReplaceAll(privileged, "IMAGE", enginetest.Busybox))
	w.define(strings.ReplaceAll(endless, "IMAGE", enginetest.Busybox))
	w.define(strings.ReplaceAll(timed, "IMAGE", enginetest.Busybox))
	build := w.submit("ci-docker", "docker-1", map[string]any{"image": enginetest.Busybox})
	refused := w.submit("docker-privileged", "docker-2", nil)
	tested := w.submit("ci-services", "docker-3", map[string]any{"image": enginetest.Busybox})
	passed := w.submit("docker-files", "docker-4", nil)
	ended := w.submit("docker-ended", "docker-5", nil)
	late := w.submit("docker-late", "docker-6", nil)
	w.endsExecutors(t, engine, ended)
	w.tell(t, late, story{want: "FAILED"})
	if got := w.task(late, "late").Attempts; len(got) != 1 || got[0].State != "TIMED_OUT" {
		t.Errorf("%+v", got)
	}
	w.tell(t, passed, story{want: "COMPLETED", tasks: map[string]string{"make": "COMPLETED", "use": "COMPLETED"}})
	w.tell(t, build, story{want: "COMPLETED", tasks: map[string]string{"build": "COMPLETED", "report": "COMPLETED"}})
	w.tell(t, refused, story{want: "FAILED"})
	w.tell(t, tested, story{want: "COMPLETED", tasks: map[string]string{"test": "COMPLETED"}})
	w.audit()
}

const passing = `
job_type: docker-files
tasks:
  - task_type: make
    method: DOCKER
    container: IMAGE
    script: ['mkdir -p out/deep', 'echo one > out/a', 'echo two > out/deep/b', 'ln -s deep/b out/link', 'chmod 755 out/a']
    artifacts: {paths: [out]}
    on_completed: use
  - task_type: use
    method: DOCKER
    container: IMAGE
    dependencies: [make]
    artifacts_dir: in
    script: ['test "$(cat in/out/a in/out/link)" = "$(printf "one\ntwo")"', 'test -x in/out/a', 'echo more > in/out/a']
    artifacts: {paths: ["in/**/a"]}
`

const privileged = `
job_type: docker-privileged
tasks:
  - task_type: all
    method: DOCKER
    privileged: true
    container: {image: IMAGE}
    script: [id]
`

const timed = `
job_type: docker-late
tasks:
  - task_type: late
    method: DOCKER
    timeout: 2s
    network_mode: none
    container: {image: IMAGE}
    script: [sleep 1000]
`

const endless = `
job_type: docker-ended
tasks:
  - task_type: endless
    method: DOCKER
    network_mode: none
    container: {image: IMAGE}
    script: [echo endless, 'if [ $FORMICARY_ATTEMPT = 1 ]; then sleep 1000; fi']
`

// endsExecutors ends the container of a task. It is lost and runs again.
func (w *world) endsExecutors(t *testing.T, engine *enginetest.Engine, id string) {
	t.Helper()
	w.within(2*time.Minute, "the task prints", func() bool {
		text, _ := w.cli("request", "logs", id)
		return strings.Contains(text, "endless\n")
	})
	uid := w.task(id, "endless").Attempts[0].UID
	type executor struct {
		ID      string `json:"id"`
		Method  string `json:"method"`
		Host    string `json:"host_id"`
		Left    bool   `json:"left"`
		Request string `json:"request_id"`
		JobType string `json:"job_type"`
		Run     int    `json:"run"`
		Task    string `json:"task"`
		Attempt int    `json:"attempt"`
	}
	find := func(uid string) (x executor, found bool) {
		var list struct{ Executors []executor }
		if _, err := w.call(http.MethodGet, "/api/v1/executors", "", nil, &list); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list.Executors, func(x executor) bool { return x.ID == uid })
		if i < 0 {
			return x, false
		}
		return list.Executors[i], true
	}
	want := executor{uid, "DOCKER", "formicary-" + uid, false, id, "docker-ended", 1, "endless", 1}
	if got, _ := find(uid); got != want {
		t.Errorf("listed %+v, want %+v", got, want)
	}
	if text, code := w.cli("ant", "executors", "list"); code != 0 || !strings.Contains(text, "formicary-"+uid) || !strings.Contains(text, "endless (attempt 1)") {
		t.Errorf("exit code %d\n%s", code, text)
	}
	if _, code := w.cli("ant", "executors", "rm", uid); code != 0 {
		t.Errorf("rm: exit code %d", code)
	}
	w.finishes(id, "COMPLETED")
	got := w.task(id, "endless").Attempts
	if len(got) != 2 || got[0].State != "LOST" || got[0].Class != "infra" || !strings.Contains(got[0].Message, "ended by an operator") {
		t.Errorf("%+v", got)
	}
	if n := len(engine.Containers(t, "formicary.uid="+uid)); n > 0 {
		t.Errorf("%d containers are left", n)
	}
	if code, err := w.call(http.MethodDelete, "/api/v1/executors/"+uid, "", nil, nil); code != http.StatusNotFound {
		t.Errorf("ended again: %d, %v", code, err)
	}
}

// An ant that is killed with containers comes back to all of them: none runs twice, and their logs are whole.
func TestKilledAntAdoptsItsContainers(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	w := newWorld(t)
	w.separate("ant-1")
	w.define(strings.ReplaceAll(counting, "IMAGE", enginetest.Busybox))
	const all = 5
	ids := make([]string, all)
	for i := range ids {
		ids[i] = w.submit("docker-counting", fmt.Sprint("counting-", i), nil)
	}
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintln(&want, "count │ line", i+1)
	}
	logs := func(id string) string {
		text, _ := w.cli("request", "logs", id)
		return text
	}
	w.within(2*time.Minute, "all of them print", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !strings.Contains(logs(id), " line 1\n") })
	})
	w.procs["ant-1"].signal(syscall.SIGKILL)
	w.procs["ant-1"].start()
	for _, id := range ids {
		if got := w.ends(2*time.Minute, id); got.State != "COMPLETED" {
			t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
		}
		if attempts := w.task(id, "count").Attempts; len(attempts) != 1 {
			t.Errorf("%d attempts: %+v", len(attempts), attempts)
		}
		if text := logs(id); !strings.Contains(text, want.String()) || strings.Count(text, "line") != 100 {
			t.Errorf("the log is not whole: %q", text)
		}
	}
	w.audit()
}

const counting = `
job_type: docker-counting
max_concurrency: 5
tasks:
  - task_type: count
    method: DOCKER
    network_mode: none
    container: {image: IMAGE}
    script: ['i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; sleep 0.1; done']
`

// An ant that is killed with containers and does not come back: its tasks run on another, and nobody can end what it left until
// its host is back. Then that is removed.
func TestContainersOfAnAntThatStaysAway(t *testing.T) {
	t.Parallel() // it waits most of the time
	engine := enginetest.Shared(t).WithBusybox(t)
	w := newWorld(t)
	w.separate()
	host := []string{"DOCKER_HOST=" + engine.Host}
	first := w.runWith(host, "ant-1", "ant", "--colony", w.file(), "--id", "ant-1")
	w.define(strings.ReplaceAll(staying, "IMAGE", enginetest.Busybox))
	const all = 3
	ids, uids := make([]string, all), make([]string, all)
	for i := range ids {
		ids[i] = w.submit("docker-staying", fmt.Sprint("staying-", i), nil)
	}
	for i, id := range ids {
		w.within(2*time.Minute, "the task prints", func() bool {
			text, _ := w.cli("request", "logs", id)
			return strings.Contains(text, "stays")
		})
		uids[i] = w.task(id, "stay").Attempts[0].UID
	}
	w.runWith(host, "ant-2", "ant", "--colony", w.file(), "--id", "ant-2")
	w.eventually("the second ant is there", func() bool {
		text, _ := w.cli("ant", "list", "-o", "name")
		return strings.Contains(text, "ant-2")
	})
	first.signal(syscall.SIGKILL)
	killed, begun := time.Now(), time.Time{}
	for _, id := range ids {
		if got := w.ends(3*time.Minute, id); got.State != "COMPLETED" {
			t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
		}
		if got := w.task(id, "stay").Attempts; len(got) != 2 || got[0].Ant != "ant-1" || got[0].State != "LOST" || got[1].Ant != "ant-2" {
			t.Errorf("attempts %+v", got)
		} else if got[1].Started.After(begun) {
			begun = got[1].Started
		}
	}
	t.Logf("the last of its tasks began elsewhere %s after it was killed", begun.Sub(killed).Round(100*time.Millisecond))
	w.eventually("what it left cannot be ended, and the reason is told", func() bool {
		code, err := w.call(http.MethodDelete, "/api/v1/executors/"+uids[0], "", nil, nil)
		return code == http.StatusServiceUnavailable && strings.Contains(err.Error(), "ant-1: it is away")
	})
	for _, uid := range uids {
		if n := len(engine.Containers(t, "formicary.uid="+uid)); n != 1 {
			t.Errorf("%d containers of %s before its ant is back", n, uid)
		}
	}
	first.start()
	for _, uid := range uids {
		w.eventually("what it left is removed", func() bool { return len(engine.Containers(t, "formicary.uid="+uid)) == 0 })
	}
	w.audit()
}

const staying = `
job_type: docker-staying
max_concurrency: 3
tasks:
  - task_type: stay
    method: DOCKER
    network_mode: none
    container: {image: IMAGE}
    script: ['if [ $FORMICARY_ATTEMPT = 1 ]; then echo stays; sleep 1000; fi']
`
