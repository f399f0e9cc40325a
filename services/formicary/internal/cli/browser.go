package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unicode"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// pages is where browsers find the server: where it says, else where this command line finds it.
func (a *app) pages(ways *identityv1.ListLoginWaysResponse) string {
	if u, err := url.Parse(ways.GetUrl()); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	scheme := "http://"
	if a.used.tls != nil {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(a.used.http)
	if addr, aerr := netip.ParseAddr(host); err == nil && (host == "" || aerr == nil && addr.IsUnspecified()) {
		return scheme + net.JoinHostPort("localhost", port)
	}
	return scheme + a.used.http
}

// opener is the program that shows an address in a browser; empty where there is none.
func (a *app) opener() []string {
	switch b := a.Getenv("BROWSER"); {
	case b != "":
		return strings.Fields(b)
	case runtime.GOOS == "darwin":
		return []string{"open"}
	case runtime.GOOS == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	case a.Getenv("DISPLAY") != "" || a.Getenv("WAYLAND_DISPLAY") != "":
		return []string{"xdg-open"}
	}
	return nil
}

// hasBrowser says whether somebody who sits at this machine can be shown a page.
func (a *app) hasBrowser() bool {
	return a.opener() != nil && (a.Getenv("SSH_CONNECTION") == "" || a.Getenv("BROWSER") != "")
}

// open shows an address in the browser, as well as that goes: it has been printed too.
func (a *app) open(address string) {
	how := a.opener()
	if how == nil {
		return
	}
	c := exec.Command(how[0], append(how[1:], address)...) // #nosec G204 -- what the user's environment names
	if c.Start() == nil {
		_ = c.Process.Release() // it outlives this command
	}
}

// granted is what a browser comes back with.
type granted struct {
	code string
	err  error
}

const browserTime = 10 * time.Minute

// byBrowser has somebody confirm, in the browser of this machine, that this command line acts as them. The code comes back to a
// port of this machine, and is worth nothing without the verifier, which stays here.
func (a *app) byBrowser(ctx context.Context, cl *client, pages string) (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if lis, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return "", fmt.Errorf("wait for the browser: %w", err)
		}
	}
	verifier, state := secretText(), secretText()
	sum := sha256.Sum256([]byte(verifier))
	back := make(chan granted, 1)
	server := &http.Server{Handler: answers(state, back), ReadHeaderTimeout: callTime}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(lis)
	}()
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil { // a browser keeps connections that it does not use
			_ = server.Close()
		}
		<-ended
	}()
	at := pages + "/auth/authorize?" + url.Values{
		"redirect_uri": {"http://" + lis.Addr().String() + "/"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"}, "state": {state}, "machine": {machine()},
	}.Encode()
	printf(a.Err, "Log in and confirm in your browser:\n\n  %s\n\n", at)
	a.open(at)
	ctx, cancel := context.WithTimeout(ctx, browserTime)
	defer cancel()
	select {
	case g := <-back:
		if g.err != nil {
			return "", g.err
		}
		res, err := cl.sessions.ExchangeLogin(ctx, &identityv1.ExchangeLoginRequest{Code: g.code, Verifier: verifier})
		return res.GetSecret(), err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "", errs.Unavailable("LOGIN_CODE_INVALID", "nobody confirmed the login in the browser: begin again, or use --device")
		}
		return "", ctx.Err()
	}
}

// answers takes the first answer that knows the state: other pages of the browser reach this port too.
func answers(state string, back chan<- granted) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		g := granted{code: q.Get("code")}
		text := "Go back to the command line. This window can be closed.\n"
		switch {
		case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte("This is the answer to another login.\n"))
			return
		case q.Get("error") != "" || g.code == "":
			g = granted{err: errs.Denied("LOGIN_DENIED", "the login was refused in the browser")}
			text = "Refused. This window can be closed.\n"
		}
		_, _ = w.Write([]byte(text))
		select {
		case back <- g:
		default: // an earlier one counts
		}
	})
	return mux
}

func secretText() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

const maxMachine = 100 // bytes

// machine is what the page of the browser calls this one.
func machine() string {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, name)
	return cmp.Or(strings.ToValidUTF8(name[:min(len(name), maxMachine)], ""), "unnamed")
}
