package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// prepare waits until tasks get a prepared image, and returns its id.
func prepare(t *testing.T, e *Executor, image string) (id string) {
	t.Helper()
	info, err := e.engine().ImageInspect(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 60*time.Second, "an image is prepared", func() bool {
		id = e.preparedFor(info.ID, &spec{uid: nobody, gid: nobody, known: true})
		return id != ""
	})
	return id
}

// preparedImages are those of an executor that the engine has.
func preparedImages(t *testing.T, e *Executor) []image.Summary {
	t.Helper()
	all, err := e.engine().ImageList(context.WithoutCancel(t.Context()), image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelOwner+"="+e.owner))})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What makes tasks begin sooner changes nothing of what they are: an operator sees as little, and it may be removed at any time.
func TestPreparedImage(t *testing.T) {
	e := start(t, nil)
	first := prepare(t, e, enginetest.Busybox)
	task := in(t, executor.Task{
		Environment: map[string]string{"SECRET": "it's\n\\secret"}, Script: []string{`printf '%s|' "$SECRET" "$0"`, "set | grep formicary_ || ls -lnA /formicary | tail -n +2 | while read mode _ uid _ size _; do echo $mode $uid; done", "cat"},
		After: []string{"echo after"},
	}, plan.Options{})
	const want = "it's\n\\secret|/formicary/script|-rw------- 65534\n-rw------- 65534\n-rw------- 65534\ndrwx------ 65534\ndrwx------ 65534\n-rw------- 65534\n-rw------- 65534\ndrwx------ 65534\nafter\n"
	run := func() (made string) {
		t.Helper()
		out := &saying{word: "after\n", said: make(chan struct{})}
		task.UID = unique("prepared")
		x := e.prepare(task, out)
		defer x.Close()
		if err := x.Create(); err != nil {
			t.Fatal(err, x.Wait())
		}
		info, err := e.engine().ContainerInspect(t.Context(), x.id)
		if err != nil || strings.Contains(strings.Join(append(info.Config.Env, info.Args...), " "), "secret") {
			t.Errorf("the engine tells %q %q, %v", info.Config.Env, info.Args, err)
		}
		x.Start()
		if end := x.Wait(); end.Class != executor.None || out.text.String() != want {
			t.Errorf("%+v, printed %q", end, out.text.String())
		}
		return info.Image
	}
	if got := run(); got != first {
		t.Errorf("the container is one of %s, want %s", got, first)
	}
	if _, err := e.engine().ImageRemove(t.Context(), first, image.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if got := run(); got == first {
		t.Error("the image is still there")
	}
	second := prepare(t, e, enginetest.Busybox)
	if got := run(); got != second {
		t.Errorf("the container is one of %s, want %s", got, second)
	}
	// A later life removes what an earlier one has made.
	if err := e.sweep(t.Context()); err != nil || len(preparedImages(t, e)) != 1 {
		t.Errorf("what is in use is removed: %v", err)
	}
	e.forgetImages(t.Context())
	if left := preparedImages(t, e); len(left) > 0 {
		t.Errorf("left %+v", left)
	}
}

// An image needs a shell and nothing else, whether it is prepared or not.
func TestShellOnly(t *testing.T) {
	enginetest.Shared(t).WithShell(t)
	e := start(t, nil)
	run := func(t *testing.T) {
		t.Helper()
		out := &saying{word: "after\n", said: make(chan struct{})}
		x := e.prepare(in(t, executor.Task{
			UID:    unique("shell"),
			Before: []string{"V=before", `for tool in cat mkdir tar ls; do ! command -v $tool || exit 9; done`},
			Script: []string{`read -r line <in/a || :`, `echo "$V $line"`, `echo "$line" >out`, `echo a=1 >>"$FORMICARY_OUTPUT"`, "cd ..", "exit 3"},
			After:  []string{"echo after $V"},
		}, plan.Options{Container: &plan.Container{Image: enginetest.Shell}}), out)
		defer x.Close()
		if err := x.Create(); err != nil {
			t.Fatal(err, x.Wait())
		}
		var in, got bytes.Buffer
		w := tar.NewWriter(&in)
		err := w.WriteHeader(&tar.Header{Name: "a", Mode: 0o644, Size: 6})
		if err == nil {
			_, err = w.Write([]byte("a file"))
		}
		if err = errors.Join(err, w.Close(), x.Put(t.Context(), "in", &in)); err != nil {
			t.Fatal(err)
		}
		x.Start()
		if end := x.Wait(); end.ExitCode != 3 || end.Outputs["a"] != "1" || out.text.String() != "before a file\nafter before\n" {
			t.Errorf("%+v, printed %q", end, out.text.String())
		}
		if err := x.Get(t.Context(), "out", func(string) bool { return true }, &got); err != nil || !strings.Contains(got.String(), "a file\n") {
			t.Errorf("got %.1000q, %v", got.String(), err)
		}
	}
	run(t)
	prepare(t, e, enginetest.Shell)
	run(t)
}
