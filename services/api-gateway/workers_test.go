package apigateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apigateway "github.com/formicary/formicary/services/api-gateway"
)

// upgrade answers like a bridge: it takes the connection over and echoes lines.
func upgrade(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("X-Seen", r.Host+" "+r.URL.Path)
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(rw, "echo %s", line)
			_ = rw.Flush()
		}
	})
}

// worker connects to the gateway's /ws/ants.
func worker(t *testing.T, base, host string) (*bufio.Reader, net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET /ws/ants HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", host)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return in, conn, res
}

func echoes(t *testing.T, in *bufio.Reader, conn net.Conn) {
	t.Helper()
	_, _ = fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestWorkersArePassedOn(t *testing.T) {
	bridge := httptest.NewServer(upgrade(t))
	defer bridge.Close()
	var in *bufio.Reader
	t.Run("gateway", func(inner *testing.T) {
		w := start(inner, func(s *setting) { s.conf.Workers = strings.TrimPrefix(bridge.URL, "http://") })
		var conn net.Conn
		var res *http.Response
		in, conn, res = worker(t, w.base, "localhost:1")
		if res.StatusCode != 101 || res.Header.Get("X-Seen") != "localhost:1 /ws/ants" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		echoes(t, in, conn)
		if _, _, res := worker(t, w.base, "evil.example"); res.StatusCode != 421 {
			t.Errorf("a rebound name: %d", res.StatusCode)
		}
	})
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection does not end with the gateway: %v", err)
	}
}

func TestWorkersAreServedHere(t *testing.T) {
	w := start(t, func(s *setting) { s.workers = upgrade(t) })
	in, conn, res := worker(t, w.base, "localhost")
	if res.StatusCode != 101 {
		t.Errorf("%d", res.StatusCode)
	}
	echoes(t, in, conn)
}

func TestNoWorkers(t *testing.T) {
	if _, _, res := worker(t, start(t).base, "localhost"); res.StatusCode != 404 {
		t.Errorf("%d", res.StatusCode)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	w := start(t, func(s *setting) { s.conf.Workers = gone.Addr().String() })
	if _, _, res := worker(t, w.base, "localhost"); res.StatusCode != 502 {
		t.Errorf("nobody there: %d", res.StatusCode)
	}
	conf := apigateway.DefaultConfig()
	conf.Workers = "nonsense"
	if err := conf.Validate(); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Error(err)
	}
}

func TestWorkersFindABridgeThatAnswers(t *testing.T) {
	bridge := httptest.NewServer(upgrade(t))
	defer bridge.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	t.Run("gateway", func(t *testing.T) {
		w := start(t, func(s *setting) {
			s.conf.Workers = gone.Addr().String() + ", " + strings.TrimPrefix(bridge.URL, "http://")
		})
		for range 4 {
			in, conn, res := worker(t, w.base, "localhost:1")
			if res.StatusCode != 101 {
				t.Fatalf("%d", res.StatusCode)
			}
			echoes(t, in, conn)
		}
	})
}
