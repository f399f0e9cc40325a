package httptask

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func start(t *testing.T, allowPrivate bool) *Executor {
	e := New(Options{Egress: egress.Policy{Private: allowPrivate}, UserAgent: "formicary-test"})
	testkit.Run(t, e.Run)
	return e
}

func execute(e *Executor, task executor.Task) (executor.End, string) {
	var log bytes.Buffer
	x := e.Prepare(task, executor.Merge(&log))
	x.Start()
	defer x.Close()
	return x.Wait(), log.String()
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%s %s|%s|%s|%s|%s", r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), r.Header.Get("X-Mine"), body)
}

func TestMethods(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	e := start(t, true)
	vars := map[string]any{"n": 1.0, "s": "a b", "l": []any{"x", true}}
	const json = `{"l":["x",true],"n":1,"s":"a b"}`
	const form = "l=%5B%22x%22%2Ctrue%5D&n=1&s=a+b"
	for method, want := range map[string]string{
		"HTTP_GET":       "GET /p?a=1&q=x+y|||v|",
		"HTTP_DELETE":    "DELETE /p?a=1&q=x+y||key|v|",
		"HTTP_POST_JSON": "POST /p?a=1&q=x+y|application/json|key|v|" + json,
		"HTTP_PUT_JSON":  "PUT /p?a=1&q=x+y|application/json|key|v|" + json,
		"HTTP_PATCH":     "PATCH /p?a=1&q=x+y|application/json|key|v|" + json,
		"HTTP_POST_FORM": "POST /p?a=1&q=x+y|application/x-www-form-urlencoded|key|v|" + form,
		"HTTP_PUT_FORM":  "PUT /p?a=1&q=x+y|application/x-www-form-urlencoded|key|v|" + form,
	} {
		end, log := execute(e, executor.Task{
			Method: method, URL: s.URL + "/p?a=1", Query: map[string]string{"q": "x y"}, Headers: map[string]string{"X-Mine": "v"},
			Variables: vars, IdempotencyKey: "key", Environment: map[string]string{"SECRET": "not sent"},
		})
		if end.Body != want || end.ExitCode != 200 || end.Class != executor.None || log != "" {
			t.Errorf("%s: %+v", method, end)
		}
	}
	if got := len(e.Methods()); got != 7 {
		t.Errorf("%d methods", got)
	}
}

func TestStatusIsTheExitCode(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		w.WriteHeader(code)
		if code != http.StatusNoContent {
			_, _ = io.WriteString(w, "because")
		}
	}))
	defer s.Close()
	e := start(t, true)
	for code, class := range map[int]executor.Class{200: "", 204: "", 304: "", 400: "user", 404: "user", 500: "user", 599: "user"} {
		end, _ := execute(e, executor.Task{Method: "HTTP_GET", URL: fmt.Sprintf("%s/%d", s.URL, code)})
		if end.ExitCode != code || end.Class != class {
			t.Errorf("%d: %+v", code, end)
		}
		if class != "" && !strings.Contains(end.Message, "because") {
			t.Errorf("%d: message %q", code, end.Message)
		}
	}
}

func TestLongBody(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
		_, _ = w.Write(bytes.Repeat([]byte("x"), n))
	}))
	defer s.Close()
	const most = logged + 1000
	e := start(t, true)
	e.opts.MaxAnswer = most
	for size, want := range map[int]struct {
		kept, logged int
		answer       int64
		class        executor.Class
	}{
		keptWhole:     {keptWhole, 0, 0, ""},
		keptWhole + 1: {keptOfLong, keptWhole + 1, keptWhole + 1, ""},
		most:          {keptOfLong, logged, most, ""},
		most + 1:      {keptOfLong, logged, 0, "user"},
	} {
		var out bytes.Buffer
		x := e.Prepare(executor.Task{Method: "HTTP_GET", URL: fmt.Sprintf("%s/%d", s.URL, size)}, executor.Merge(&out))
		_ = x.Create()
		_ = x.Start()
		end, log := x.Wait(), out.String()
		if answer, n := x.(executor.Answerer).Answer(); n != want.answer || (answer != nil) != (n > 0) {
			t.Errorf("%d: an answer of %d", size, n)
		} else if answer != nil {
			if got, err := io.Copy(io.Discard, answer); got != n || err != nil {
				t.Errorf("%d: %d bytes of an answer, %v", size, got, err)
			}
		}
		x.Close()
		if len(end.Body) != want.kept || len(log) != want.logged || end.Class != want.class || end.ExitCode != 200 {
			t.Errorf("%d: kept %d, logged %d, %s %s", size, len(end.Body), len(log), end.Class, end.Message)
		}
	}
}

// TestSecretsAreHiddenBeforeACut asks for answers in which a secret stands where the message and the result are cut.
func TestSecretsAreHiddenBeforeACut(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var at, n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d", &at, &n)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, strings.Repeat("x", at)+secret+strings.Repeat("x", n))
	}))
	defer s.Close()
	e := start(t, true)
	for name, at := range map[string]int{"message": shown - 10, "result": keptOfLong - 10, "whole": keptWhole - 10} {
		var out bytes.Buffer
		x := e.Prepare(executor.Task{Method: "HTTP_GET", URL: fmt.Sprintf("%s/%d/%d", s.URL, at, keptWhole), Masks: mask.New([]string{secret})}, executor.Merge(&out))
		end := x.Wait()
		answer, _ := x.(executor.Answerer).Answer()
		whole, err := io.ReadAll(answer)
		x.Close()
		if err != nil || !strings.Contains(string(whole), "xxx"+mask.Replacement+"xxx") {
			t.Errorf("%s: the answer is not whole: %v", name, err)
		}
		for where, text := range map[string]string{"message": end.Message, "body": end.Body, "log": out.String(), "answer": string(whole)} {
			if strings.Contains(text, secret[:5]) {
				t.Errorf("%s: the %s shows some of it", name, where)
			}
		}
	}
}

func TestBadURL(t *testing.T) {
	e := start(t, true)
	for _, u := range []string{"", "/path", "ftp://x/", "file:///etc/passwd", "http://", "http://a b/", ":"} {
		if end, _ := execute(e, executor.Task{Method: "HTTP_GET", URL: u}); end.Class != executor.Rejected {
			t.Errorf("%q: %+v", u, end)
		}
	}
}

func TestHeadersThatCannotBeSent(t *testing.T) {
	e := start(t, true)
	for name, value := range map[string]string{"X-A": "a\nb", "X-B": "a\x00", "X C": "a"} {
		end, _ := execute(e, executor.Task{Method: "HTTP_GET", URL: "http://127.0.0.1:1/", Headers: map[string]string{name: value}})
		if end.Class != executor.Rejected || !strings.Contains(end.Message, "header") {
			t.Errorf("%q: %+v", name, end)
		}
	}
}

func TestURLAsScript(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	if end, _ := execute(start(t, true), executor.Task{Method: "HTTP_GET", Script: []string{s.URL}}); end.ExitCode != 200 {
		t.Errorf("%+v", end)
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:9")
	t.Setenv("http_proxy", "http://192.0.2.1:9")
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	if end, _ := execute(start(t, true), executor.Task{Method: "HTTP_GET", URL: s.URL}); end.ExitCode != 200 {
		t.Errorf("%+v", end)
	}
}

func TestRedirects(t *testing.T) {
	referers := make(chan string, 1)
	mux := http.NewServeMux()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referers <- r.Referer()
		if back := r.URL.Query().Get("back"); back != "" {
			http.Redirect(w, r, back, http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		echo(w, r)
	}))
	defer other.Close()
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/forever", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there", http.StatusPermanentRedirect)
	})
	mux.HandleFunc("/found", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there", http.StatusFound)
	})
	mux.HandleFunc("/around", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there?back=http://"+r.Host+"/here", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/same", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/here", echo)
	mux.HandleFunc("/metadata", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
	})
	mux.HandleFunc("/scheme", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+r.Host+"/here", http.StatusFound)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	e := start(t, true)
	askBy := func(method, path string) executor.End {
		end, _ := execute(e, executor.Task{Method: method, URL: s.URL + path, Headers: map[string]string{"X-Mine": "secret", "Authorization": "secret"}, IdempotencyKey: "k"})
		return end
	}
	ask := func(path string) executor.End { return askBy("HTTP_POST_JSON", path) }
	if end := ask("/same"); end.Body != "POST /here|application/json|k|secret|{}" {
		t.Errorf("same host: %+v", end)
	}
	for _, path := range []string{"/other", "/forever", "/around"} {
		if end := ask(path); end.Class != executor.User || !strings.Contains(end.Message, "redirect with the body to another host") {
			t.Errorf("other host %s: %+v", path, end)
		}
	}
	for _, c := range [][3]string{
		{"HTTP_GET", "/other?token=secret", "GET /there||||"},
		{"HTTP_DELETE", "/forever?token=secret", "DELETE /there||||"},
		{"HTTP_POST_JSON", "/found?token=secret", "GET /there||||"},
		{"HTTP_GET", "/around", "GET /here||||"},
	} {
		if end := askBy(c[0], c[1]); end.Body != c[2] || end.ExitCode != 200 {
			t.Errorf("other host: %s %s: %+v", c[0], c[1], end)
		}
		if from := <-referers; from != "" {
			t.Errorf("the other host was told of %q", from)
		}
	}
	for path, want := range map[string]string{"/loop": "more than 3 redirects", "/metadata": "not allowed", "/scheme": "redirect from http to https"} {
		if end := ask(path); !strings.Contains(end.Message, want) || end.Class != executor.User {
			t.Errorf("%s: %+v", path, end)
		}
	}
}

func TestStop(t *testing.T) {
	asked := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer s.Close()
	x := start(t, true).Prepare(executor.Task{Method: "HTTP_GET", URL: s.URL}, executor.Merge(io.Discard))
	go func() {
		<-asked
		x.Stop(time.Hour)
	}()
	if end := x.Wait(); end.Class == executor.None {
		t.Errorf("%+v", end)
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	e := start(t, false)
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for _, u := range []string{s.URL, "http://localhost" + port, "http://[::ffff:127.0.0.1]" + port, "http://[::1]" + port, "http://2130706433" + port} {
		if end, _ := execute(e, executor.Task{Method: "HTTP_GET", URL: u}); end.Class == executor.None || end.ExitCode != -1 {
			t.Errorf("%s: %+v", u, end)
		}
	}
}
