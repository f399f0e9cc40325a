package enginetest_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestSharedEngineHasTheImage(t *testing.T) {
	e := enginetest.Shared(t).WithBusybox(t).WithBusybox(t)
	if again := enginetest.Shared(t); again != e {
		t.Error("a second engine in one process")
	}
	var image struct {
		Config struct{ Cmd, Env []string }
	}
	get(t, e, "/images/"+enginetest.Busybox+"/json", &image)
	if strings.Join(image.Config.Env, " ") != "PATH=/bin" || strings.Join(image.Config.Cmd, " ") != "/bin/sh" {
		t.Errorf("image: %+v", image)
	}
}

func TestPrivateEngineIsGoneAfterItsTest(t *testing.T) {
	var dir string
	t.Run("uses it", func(t *testing.T) {
		e := enginetest.Private(t)
		dir = e.Dir
		var images []any
		get(t, e, "/images/json", &images)
		if len(images) > 0 {
			t.Errorf("a new engine has %d images", len(images))
		}
	})
	if _, err := os.Stat(dir); dir != "" && !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func get(t *testing.T, e *enginetest.Engine, path string, into any) {
	t.Helper()
	socket, ok := strings.CutPrefix(e.Host, "unix://")
	if !ok {
		testkit.Missing(t, "the engine %s is not on this machine", e.Host)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	res, err := client.Get("http://engine" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %v", path, res.Status, err)
	}
}
