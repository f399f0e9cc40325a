package docker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/executor/executortest"
)

// beside is a service of busybox that runs the lines.
func beside(name, script string, ports ...int) plan.Sidecar {
	s := plan.Sidecar{Name: name, Instances: 1, Image: enginetest.Busybox, Command: []string{"sh", "-c", script}}
	for _, p := range ports {
		s.Ports = append(s.Ports, plan.Port{Number: p, Protocol: "TCP"})
	}
	return s
}

func withServices(t *testing.T, e *Executor, o plan.Options, task executor.Task) executortest.Result {
	t.Helper()
	if o.NetworkMode == "" {
		o.NetworkMode = "bridge"
	}
	r := subject(t, e).Execute(t, in(t, task, o), nil)
	t.Logf("%+v, printed %q, notes %q", r.End, r.Stdout, r.Notes)
	return r
}

const serve = "mkdir /tmp/w; echo served by $SERVICE_INSTANCE >/tmp/w/index.html; echo begins; exec httpd -f -p 8080 -h /tmp/w"

func TestServices(t *testing.T) {
	e := start(t, func(c *Config) { c.ServiceTime = 20 * time.Second })
	t.Run("is reached by its names when its port is open", func(t *testing.T) {
		t.Parallel()
		web := beside("web", "sleep 1; "+serve, 8080)
		web.Alias = "site"
		r := withServices(t, e, plan.Options{NetworkMode: "none", Services: []plan.Sidecar{web}}, executor.Task{
			Script: []string{"wget -q -O - http://web:8080/", "wget -q -O - http://site:8080/"}, After: []string{"wget -q -O - http://site-1:8080/"},
		})
		if r.End.Class != executor.None || r.Stdout != strings.Repeat("served by 1\n", 3) || !strings.Contains(strings.Join(r.Notes, "\n"), "[web] begins") {
			t.Errorf("%+v printed %q, notes %q", r.End, r.Stdout, r.Notes)
		}
	})
	t.Run("instances", func(t *testing.T) {
		t.Parallel()
		web := beside("web", serve, 8080)
		web.Instances = 3
		r := withServices(t, e, plan.Options{Services: []plan.Sidecar{web}}, executor.Task{Script: []string{"for i in 1 2 3; do wget -q -O - http://web-$i:8080/; done"}})
		if want := "served by 1\nserved by 2\nserved by 3\n"; r.Stdout != want {
			t.Errorf("%+v printed %q, want %q", r.End, r.Stdout, want)
		}
	})
	t.Run("an end before it is up", func(t *testing.T) {
		t.Parallel()
		r := withServices(t, e, plan.Options{Services: []plan.Sidecar{beside("db", "echo no space; exit 3", 5432)}}, executor.Task{Script: []string{"echo no"}})
		if want := "service db ended with exit code 3 before it could be used; it said: no space"; r.End.Message != want || r.End.Class != executor.User || r.Stdout != "" {
			t.Errorf("%+v, want %q", r.End, want)
		}
	})
	t.Run("nobody listens where others reach it", func(t *testing.T) {
		t.Parallel()
		e := start(t, func(c *Config) { c.ServiceTime = 2 * time.Second })
		r := withServices(t, e, plan.Options{Services: []plan.Sidecar{beside("db", "echo waiting; exec httpd -f -p 127.0.0.1:5432", 5432, 9)}}, executor.Task{Script: []string{"echo no"}})
		if want := "service db did not come up: waited 2s for somebody to listen at tcp 5432, tcp 9; it said: waiting"; r.End.Message != want {
			t.Errorf("%+v, want %q", r.End, want)
		}
	})
	t.Run("an end in the middle is told and hurts nobody", func(t *testing.T) {
		t.Parallel()
		out := &saying{word: "[short] ended with exit code 5\n", said: make(chan struct{})}
		x := e.Prepare(in(t, executor.Task{UID: unique("short"), Script: []string{"nc short 7 </dev/null", "sleep 1000"}},
			plan.Options{NetworkMode: "bridge", Services: []plan.Sidecar{beside("short", "echo last words; nc -l -p 7; exit 5", 7)}}), out)
		defer x.Close()
		if err := x.Create(); err != nil {
			t.Fatal(err)
		}
		x.Start()
		<-out.said
		x.Stop(0)
		if end := x.Wait(); end.ExitCode != 137 || !strings.Contains(out.note.String(), "[short] last words\n") {
			t.Errorf("%+v, %q", end, out.note.String())
		}
	})
	t.Run("is refused what the task is refused", func(t *testing.T) {
		t.Parallel()
		bind := beside("db", "true")
		bind.Volumes = []plan.Volume{{Kind: plan.VolumeBind, HostPath: "/var/run/docker.sock", MountPath: "/s"}}
		for want, o := range map[string]plan.Options{
			"docker-allow-binds": {Services: []plan.Sidecar{bind}},
			"host_network":       {Services: []plan.Sidecar{beside("db", "true")}, HostNetwork: true},
			"network_mode":       {Services: []plan.Sidecar{beside("db", "true")}, NetworkMode: "ours"},
			"alias":              {Services: []plan.Sidecar{{Alias: "a b", Image: enginetest.Busybox, Instances: 1}}},
		} {
			if r := withServices(t, e, o, executor.Task{Script: []string{"echo no"}}); r.End.Class != executor.Rejected || !strings.Contains(r.End.Message, want) {
				t.Errorf("%s: %+v", want, r.End)
			}
		}
	})
	t.Run("a stop while it comes up", func(t *testing.T) {
		t.Parallel()
		task := in(t, executor.Task{UID: unique("stopped"), Script: []string{"echo no"}}, plan.Options{NetworkMode: "bridge", Services: []plan.Sidecar{beside("db", "sleep 1000", 5432)}})
		x := e.Prepare(task, executor.Merge(t.Output()))
		if err := x.Create(); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() { x.Stop(time.Minute); close(stopped) }()
		x.Start()
		end := x.Wait()
		x.Close()
		<-stopped
		if end.Message != "stopped before it began" {
			t.Errorf("%+v", end)
		}
	})
	t.Cleanup(func() { nothingLeft(t, e) })
}

// nothingLeft waits until nothing of an executor is left in the engine.
func nothingLeft(t *testing.T, e *Executor) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	ours := filters.NewArgs(filters.Arg("label", labelOwner+"="+e.owner))
	testkit.Eventually(t, 60*time.Second, "nothing is left in the engine", func() bool {
		containers, err := e.engine().ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
		networks, err2 := e.engine().NetworkList(ctx, network.ListOptions{Filters: ours})
		return err == nil && err2 == nil && len(containers)+len(networks) == 0
	})
}

func TestListener(t *testing.T) {
	for line, want := range map[string]string{
		"tcp    0: 00000000:1F90 00000000:0000 0A 00000000:00000000":                                 "tcp 8080",
		"tcp    0: 0B00007F:1F90 00000000:0000 0A 00000000:00000000":                                 "",
		"tcp    0: 020011AC:1F90 030011AC:0050 01 00000000:00000000":                                 "",
		"tcp6   0: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 0": "tcp 53",
		"tcp6   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 0": "",
		"udp    0: 00000000:0035 00000000:0000 07 00000000:00000000":                                 "udp 53",
		"tcp   sl  local_address rem_address   st tx_queue rx_queue":                                 "",
		".": "", "": "",
	} {
		if port, ok := listener(line); ok != (want != "") || ok && port != want {
			t.Errorf("%q: %q %t", line, port, ok)
		}
	}
}
