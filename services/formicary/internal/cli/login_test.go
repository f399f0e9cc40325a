package cli

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/formicary/internal/up"
)

// person is somebody at a command line, with a home of their own.
type person struct {
	t    *testing.T
	home string
	env  map[string]string
}

func newPerson(t *testing.T, env map[string]string) *person {
	t.Helper()
	return &person{t, t.TempDir(), env}
}

// run executes a command line; what of it is asked for stands in stdin.
func (p *person) run(stdin string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	var out, errOut bytes.Buffer
	code = Run(p.t.Context(), Env{
		Args: args, In: strings.NewReader(stdin), Out: &out, Err: &errOut, Version: "test",
		Getenv: func(key string) string {
			if key == "XDG_CONFIG_HOME" {
				return p.home
			}
			return p.env[key]
		},
	})
	return out.String(), errOut.String(), code
}

func (p *person) must(stdin string, args ...string) string {
	p.t.Helper()
	out, errOut, code := p.run(stdin, args...)
	if code != exitOK {
		p.t.Fatalf("formicary %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

func (p *person) fails(want int, says, stdin string, args ...string) {
	p.t.Helper()
	out, errOut, code := p.run(stdin, args...)
	if code != want || !strings.Contains(errOut, says) {
		p.t.Errorf("formicary %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, says, out, errOut)
	}
}

func (p *person) file() string { return filepath.Join(p.home, "formicary", "contexts.json") }

func TestContexts(t *testing.T) {
	p := newPerson(t, nil)
	p.fails(exitNotFound, "no context is in use", "", "context", "show")
	p.must("", "context", "add", "work", "--server", "192.0.2.1:7777", "--org", "acme")
	p.must("", "context", "add", "home", "--server", "127.0.0.1:7777")
	if info, err := os.Stat(p.file()); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	raw, err := os.ReadFile(p.file())
	if err != nil {
		t.Fatal(err)
	}
	withToken := strings.Replace(string(raw), `"org": "acme"`, `"org": "acme", "token": "fmc_ses_secret"`, 1)
	if err := os.WriteFile(p.file(), []byte(withToken), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"table", "json", "yaml"} {
		if out := p.must("", "context", "list", "-o", format); !strings.Contains(out, "192.0.2.1:7777") || strings.Contains(out, "fmc_ses_secret") {
			t.Error(out)
		}
	}
	// A token leaves this machine only over what protects it, or when somebody said so.
	p.fails(exitDenied, "not encrypted", "", "request", "list")
	p.must("", "context", "add", "work", "--server", "192.0.2.1:7777", "--insecure")
	p.fails(exitUnavailable, "", "", "request", "list", "--timeout", "50ms")

	p.fails(exitNotFound, "no context", "", "context", "use", "other")
	p.must("", "context", "use", "home")
	p.must("", "context", "rm", "work")
	if out := p.must("", "context", "show", "-o", "name"); out != "home\n" {
		t.Error(out)
	}
	p.must("", "context", "use", noContext)
	if err := os.Chmod(p.file(), 0o644); err != nil {
		t.Fatal(err)
	}
	p.fails(exitUsage, "others may read it", "", "context", "list")
}

// TestTokensStayWithTheirServer: only the server that a token is for gets it.
func TestTokensStayWithTheirServer(t *testing.T) {
	p := newPerson(t, map[string]string{"XDG_CONFIG_HOME": t.TempDir()})
	a := &app{Env: Env{Getenv: func(k string) string { return p.env[k] }}}
	all, err := a.accounts()
	if err != nil {
		t.Fatal(err)
	}
	all.Current = "work"
	all.Contexts["work"] = account{Server: "127.0.0.1:7777", Org: "acme", Token: "fmc_ses_secret"}
	if err := all.save(); err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]caller{
		"https://127.0.0.1:7777": {},
		"127.0.0.1:7777":         {token: "fmc_ses_secret", org: "acme"},
		"127.0.0.1:7778":         {}, "localhost:7777": {}, "evil.example:7777": {},
	} {
		a.server = server
		at, err := a.target()
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.callerAt(at)
		c.user = ""
		if err != nil || c != want {
			t.Errorf("%s: %+v, %v", server, c, err)
		}
	}
}

// TestLogin: from the code of the first start to a colony with users, by the command line alone.
func TestLogin(t *testing.T) {
	const password = "correct horse battery"
	conf := up.DefaultConfig()
	conf.DataDir, conf.Listen, conf.Throwaway, conf.NoAnt, conf.Auth, conf.LocalUsers = filepath.Join(shared.dir, "auth"), "127.0.0.1:0", true, true, true, true
	conf.HTTPSCert, conf.HTTPSKey = testkit.Certificate(t, t.TempDir(), "formicary.example", "127.0.0.1")
	codes := make(chan string, 1)
	conf.Bootstrap = func(code string) { codes <- code }
	log, err := logger(t.Output(), "error", "text")
	if err != nil {
		t.Fatal(err)
	}
	col, err := up.New(conf, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- col.Run(ctx, func(colony.Colony) { ready <- filepath.Join(conf.DataDir, colonyFile) })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var file string
	select {
	case file = <-ready:
	case err := <-ended:
		ended <- nil // for the end of this test
		t.Fatal(err)
	}
	at := []string{"--colony", file}
	root, ann, mallory := newPerson(t, nil), newPerson(t, nil), newPerson(t, map[string]string{"FORMICARY_USER": "root"})

	mallory.fails(exitDenied, "log in", "", append([]string{"request", "list", "--user", "root"}, at...)...)
	root.fails(exitDenied, "wrong", "fmc_boot_guess\n"+password+"\n", append([]string{"login", "--bootstrap", "--user", "root"}, at...)...)
	root.must(<-codes+"\n"+password+"\n", append([]string{"login", "--bootstrap", "--user", "root"}, at...)...)
	if out := root.must("", "user", "get"); !strings.Contains(out, "platform-admin") {
		t.Error(out)
	}
	if out := root.must("", "request", "list"); out == "" {
		t.Error("the context is not used")
	}
	root.must("", "org", "create", "acme", "--admin", "root")
	invitation := strings.TrimSpace(root.must("", "user", "invite", "--org", "acme", "--role", "org-operator", "--group", "release", "-o", "name"))
	ann.must(invitation+"\n"+password+"\n", append([]string{"login", "--invitation", "--user", "ann"}, at...)...)
	if out := ann.must("", "user", "get"); !strings.Contains(out, "acme") || !strings.Contains(out, "release") {
		t.Error(out)
	}
	// The same server by its address: it is recognised by a certificate that is trusted, or not at all.
	known, err := colony.Load(file, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	far := []string{"login", "--user", "ann", "--password-stdin", "--server", known.URL()}
	laptop := newPerson(t, map[string]string{"FORMICARY_GRPC": known.GRPC})
	laptop.fails(exitUnavailable, "--ca FILE", password+"\n", append(far, "--timeout", "5s")...)
	laptop.must(password+"\n", append(far, "--ca", conf.HTTPSCert)...)
	laptop.fails(exitUnavailable, "https://", "", "request", "list", "--server", known.HTTP, "--timeout", "5s")
	laptop.env = nil
	laptop.must("", "request", "list")
	laptop.fails(exitUsage, "https://", "", "request", "list", "--server", known.HTTP, "--ca", conf.HTTPSCert)
	ann.fails(exitNotFound, "organisation", "", "request", "list", "--org", "default")
	ann.fails(exitDenied, "permission", "", "user", "create", "bob")
	if out := root.must("", "org", "members", "--org", "acme"); !strings.Contains(out, "ann") || !strings.Contains(out, "org-operator") {
		t.Error(out)
	}

	// A token for a program, which sends it by the environment.
	token := strings.TrimSpace(ann.must("", "token", "create", "ci", "--scope", "*.read", "-o", "name"))
	program := newPerson(t, map[string]string{"FORMICARY_TOKEN": token, "FORMICARY_COLONY": file})
	program.must("", "request", "list")
	program.fails(exitDenied, "permission", "", "token", "list")
	id := strings.TrimSpace(ann.must("", "token", "list", "-o", "name"))
	ann.must("", "token", "revoke", id)
	program.fails(exitDenied, "does not count", "", "request", "list")

	// Another machine of ann: its login is confirmed at this one.
	other := newPerson(t, nil)
	var shown lockedBuffer
	waiting := make(chan int, 1)
	go func() {
		waiting <- Run(t.Context(), Env{
			Args: append([]string{"login", "--device"}, at...), Out: &shown, Err: &shown, Version: "test", In: strings.NewReader(""),
			Getenv: func(key string) string { return map[string]string{"XDG_CONFIG_HOME": other.home}[key] },
		})
	}()
	approve := ""
	testkit.Eventually(t, time.Minute, "a code is shown", func() bool {
		_, approve, _ = strings.Cut(shown.String(), "--approve ")
		return strings.HasSuffix(approve, "\n")
	})
	ann.must("", "login", "--approve", strings.TrimSpace(approve))
	if got := <-waiting; got != exitOK {
		t.Fatal(got, shown.String())
	}
	if out := other.must("", "user", "sessions"); strings.Count(out, "cli") < 2 || !strings.Contains(out, "device") {
		t.Error(out)
	}
	byBrowser(t, at, conf.HTTPSCert, "ann", password)
	ann.must("", "logout", "--everywhere")
	other.fails(exitDenied, "does not count", "", "request", "list")
	ann.fails(exitDenied, "wrong", "not the password\n", append([]string{"login", "--user", "ann", "--password-stdin"}, at...)...)
	ann.must(password+"\n", append([]string{"login", "--user", "ann", "--password-stdin"}, at...)...)
	root.must("", "user", "disable", "ann")
	ann.fails(exitDenied, "does not count", "", "request", "list")
	root.fails(exitConflict, "last platform-admin", "", "user", "disable", "root")
	root.must("", "logout")
	root.fails(exitDenied, "log in", "", "request", "list")
}

// byBrowser logs in by a browser, which people drive here by hand: once they refuse, then they confirm.
func byBrowser(t *testing.T, at []string, cert, user, password string) {
	t.Helper()
	door, err := trust{CA: cert}.tls()
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: door}}
	defer browser.CloseIdleConnections()
	read := func(res *http.Response, err error) (*http.Response, string, url.Values) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{}
		for _, m := range hiddenField.FindAllStringSubmatch(string(raw), -1) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
		return res, string(raw), form
	}
	for _, confirm := range []bool{false, true} {
		p := newPerson(t, nil)
		var shown lockedBuffer
		ended := make(chan int, 1)
		go func() {
			ended <- Run(t.Context(), Env{
				Args: append([]string{"login", "--browser"}, at...), Out: &shown, Err: &shown, Version: "test", In: strings.NewReader(""),
				Getenv: func(key string) string {
					return map[string]string{"XDG_CONFIG_HOME": p.home, "BROWSER": "true"}[key]
				},
			})
		}()
		address := ""
		testkit.Eventually(t, time.Minute, "an address is shown", func() bool {
			address = shownAddress.FindString(shown.String())
			return address != ""
		})
		res, page, form := read(browser.Get(address))
		if res.Request.URL.Path == "/login" {
			form.Set("user", user)
			form.Set("password", password)
			res, page, form = read(browser.PostForm("https://"+res.Request.URL.Host+"/login", form))
		}
		if !strings.Contains(page, machine()) || !strings.Contains(page, "<strong>"+user+"</strong>") {
			t.Fatal(page)
		}
		form.Set("answer", map[bool]string{true: "confirm", false: "deny"}[confirm])
		res, page, _ = read(browser.PostForm("https://"+res.Request.URL.Host+"/auth/authorize", form))
		_, back, ok := strings.Cut(res.Header.Get("Refresh"), "url=")
		if !ok {
			t.Fatal(page)
		}
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		foreign := *u
		foreign.RawQuery = "code=x&state=guess"
		if res, _, _ := read(browser.Get(foreign.String())); res.StatusCode != http.StatusBadRequest {
			t.Error("an answer without the state counts")
		}
		_, page, _ = read(browser.Get(back))
		code := <-ended
		switch {
		case confirm && (code != exitOK || !strings.Contains(page, "Go back to the command line")):
			t.Error(code, page, shown.String())
		case !confirm && (code != exitDenied || !strings.Contains(shown.String(), "refused in the browser")):
			t.Error(code, shown.String())
		case confirm:
			if out := p.must("", "user", "sessions"); !strings.Contains(out, "browser") || !strings.Contains(out, "formicary (") {
				t.Error(out)
			}
		}
	}
}

var (
	shownAddress = regexp.MustCompile(`https://\S+/auth/authorize\?\S+`)
	hiddenField  = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
)

// lockedBuffer is written by a command line that still runs.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
