package e2e

import (
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	_ "github.com/formicary/formicary/proto/gen/formicary/ant/v1" // what ants call
)

const farJob = `job_type: e2e-far
tasks:
  - task_type: a
    method: SHELL
    tags: [far]
    script: ['test -e MARK && exit 0', 'touch MARK', 'sleep 600']
`

// TestAnAntJoinsAndIsShutOut lets an ant in by a token that has no other way in, restarts it without one, and shuts it out while it
// runs a task: it loses the task and ends, and its certificate, stolen meanwhile, is refused at every call that ants can make. Another
// one of the same name joins and does the task.
func TestAnAntJoinsAndIsShutOut(t *testing.T) {
	w := newWorld(t)
	w.embedded("--expose")
	col := w.colony()
	addresses := col
	addresses.Authority = "" // as on another machine
	file := filepath.Join(w.dir, "addresses.json")
	if err := addresses.Save(file); err != nil {
		t.Fatal(err)
	}
	token := func() string {
		t.Helper()
		var res struct{ Token string }
		if _, err := w.call("POST", "/api/v1/ants/tokens", "application/json", []byte(`{"pool":"far"}`), &res); err != nil {
			t.Fatal(err)
		}
		return res.Token
	}
	dir := filepath.Join(w.dir, "far")
	args := []string{"ant", "--colony", file, "--id", "far", "--tags", "far", "--methods", "SHELL", "--data", dir}
	w.run("far", append(args, "--join", token())...)
	online := func() bool {
		out, code := w.cli("ant", "get", "far")
		return code == 0 && strings.Contains(out, "ONLINE")
	}
	w.eventually("the ant has joined", online)
	w.procs["far"].signal(syscall.SIGTERM)
	far := w.run("far", args...)
	w.eventually("it is back without a token", online)

	w.define(strings.ReplaceAll(farJob, "MARK", filepath.Join(w.dir, "mark")))
	id := w.submit("e2e-far", "far", nil)
	w.eventually("the ant runs the task", func() bool { return w.task(id, "a").State == "RUNNING" })
	stolen, err := pki.OpenDir(filepath.Join(dir, "identity"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if out, code := w.cli("ant", "revoke", "far"); code != 0 {
		t.Fatalf("revoke: %s", out)
	}
	w.eventually("the ant ends", far.over)
	w.refusesAll(stolen, "far")

	w.run("far-2", "ant", "--colony", file, "--id", "far", "--tags", "far", "--methods", "SHELL", "--data", dir+"-2", "--join", token())
	w.finishes(id, "COMPLETED")
	lost(t, w.task(id, "a"))
	w.audit()
}

// refusesAll calls everything that ants can call with a certificate that counts no more.
func (w *world) refusesAll(stolen *pki.Files, ant string) {
	w.t.Helper()
	rules := access.ReadRules(protoregistry.GlobalFiles)
	issuer := passport.NewIssuer(stolen.Source, rules)
	for service, prefixes := range map[string][]string{
		"resource-manager": {"/formicary.ant.v1.RegistrationService/", "/formicary.ant.v1.JoinService/"},
		"supervisor":       {"/formicary.ant.v1.AttemptService/", "/formicary.ant.v1.CacheService/"},
	} {
		addr, err := w.colony().Ant(service)
		if err != nil {
			w.t.Fatal(err)
		}
		conn, err := rpc.Dial(addr, grpc.WithPerRPCCredentials(issuer), rpc.WithTLS(func() *tls.Config { return pki.ClientTLS(stolen.Source, stolen.Roots, service) }))
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		for _, prefix := range prefixes {
			tried := 0
			for method, rule := range rules {
				if !rule.Ant || !strings.HasPrefix(method, prefix) {
					continue
				}
				tried++
				w.eventually(method+" is refused", func() bool { return errs.Reason(w.callNamed(conn, method, ant)) == passport.RevokedReason })
			}
			if tried == 0 {
				w.t.Errorf("no method of %s was tried", prefix)
			}
		}
	}
}

// callNamed calls a method with a request that says no more than which ant asks.
func (w *world) callNamed(conn *grpc.ClientConn, method, ant string) error {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return err
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name)) //nolint:forcetypeassert // a service was asked for
	req := dynamicpb.NewMessage(m.Input())
	req.Set(m.Input().Fields().ByName(access.AntField), protoreflect.ValueOfString(ant))
	return conn.Invoke(w.t.Context(), method, req, dynamicpb.NewMessage(m.Output()))
}
