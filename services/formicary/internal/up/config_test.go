package up

import (
	"net"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/colony"
)

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for addr, fault := range map[string]string{
		"127.0.0.1:7777": "", "localhost:0": "", "[::1]:7777": "", "127.0.0.2:1": "",
		"0.0.0.0:7777": "--auth", ":7777": "--auth", "[::]:7777": "--auth",
		"192.168.1.1:7777": "--auth", "example.org:80": "--auth",
		"7777": "host:port", "127.0.0.1:70000": "port", "127.0.0.1:x": "port",
	} {
		conf := DefaultConfig()
		conf.Listen = addr
		err := conf.Validate()
		if (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: got %v, want %q", addr, err, fault)
		}
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	err := Config{Listen: "nowhere", Slots: -1}.Validate()
	for _, want := range []string{"data directory", "slots", "listen address"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
}

func TestAddressesFollowTheFirstPort(t *testing.T) {
	for _, c := range []struct {
		addr string
		n    int
		want string
	}{{"127.0.0.1:7777", 1, "127.0.0.1:7778"}, {"127.0.0.1:7777", 2, "127.0.0.1:7779"}, {"127.0.0.1:0", 1, "127.0.0.1:0"}, {"[::1]:1", 1, "[::1]:2"}} {
		if got := after(c.addr, c.n); got != c.want {
			t.Errorf("after(%s, %d) = %s, want %s", c.addr, c.n, got, c.want)
		}
	}
}

func TestProbedPortsAreDistinctAndOutsideTheEphemeralRange(t *testing.T) {
	got, err := probe("127.0.0.1", 9)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, addr := range got {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil || a.Port < lowestPort || a.Port >= highestPort || seen[addr] {
			t.Errorf("address %s: %v", addr, err)
		}
		seen[addr] = true
	}
	if len(got) != 9 {
		t.Errorf("got %d addresses", len(got))
	}
}

func TestExposedAddressesSurviveARestart(t *testing.T) {
	conf := DefaultConfig()
	conf.DataDir, conf.Listen, conf.InfraOnly, conf.Expose = t.TempDir(), "127.0.0.1:0", true, true
	first, at, err := plan(conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"api-gateway"}, inner...) {
		if first.Services[name] == "" {
			t.Errorf("no address of %s", name)
		}
	}
	if first.HTTP == "" || first.GRPC == "" || first.Ops == "" || at.nats == "" || at.etcd == "" {
		t.Errorf("addresses are missing: %+v %+v", first, at)
	}
	first.NATS, first.Etcd, first.S3.Endpoint = "nats://"+at.nats, []string{at.etcd}, at.s3
	if err := first.Save(conf.DataDir + "/" + fileName); err != nil {
		t.Fatal(err)
	}
	second, again, err := plan(conf)
	if err != nil {
		t.Fatal(err)
	}
	if second.HTTP != first.HTTP || second.Services["supervisor"] != first.Services["supervisor"] || again != at {
		t.Errorf("addresses changed:\n%+v %+v\n%+v %+v", first, at, second, again)
	}
}

func TestTakenAddressIsReplaced(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if got := keep(l.Addr().String(), "fresh"); got != "fresh" {
		t.Errorf("kept %s, which is in use", got)
	}
	if _, err := listen(l.Addr().String(), ""); err == nil || !strings.Contains(err.Error(), "another colony") {
		t.Errorf("listening on an address in use: %v", err)
	}
	if _, _, err := plan(Config{DataDir: t.TempDir(), Listen: "x"}); err == nil {
		t.Error("planned with a broken address")
	}
	if c := before(t.TempDir()); c.PID != (colony.Colony{}).PID {
		t.Errorf("found %+v in an empty directory", c)
	}
}

// TestOperationsStayOnThisMachine: the operations port has no login, wherever the others listen.
func TestOperationsStayOnThisMachine(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:7000": "127.0.0.1:7002", "localhost:7000": "localhost:7002", "[::1]:7000": "[::1]:7002",
		"0.0.0.0:7000": "127.0.0.1:7002", ":7000": "127.0.0.1:7002", "[::]:7000": "127.0.0.1:7002", "192.0.2.1:7000": "127.0.0.1:7002",
	} {
		col, _, err := plan(Config{Listen: listen, DataDir: t.TempDir()})
		if err != nil || col.Ops != want {
			t.Errorf("%s: operations at %q, want %q: %v", listen, col.Ops, want, err)
		}
	}
}
