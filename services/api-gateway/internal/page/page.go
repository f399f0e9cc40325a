// Package page is what people see of a login in a browser: the page of logins, what comes back from providers of identity, and
// the pages on which a person confirms the login of a command line or of another device.
//
// The pages are clients of the gateway's RPCs, so the gate, the limits and the audit log see what they do. They need no script,
// load nothing, cannot be framed, and act only for the session in the browser's cookie. Forms of other origins never arrive.
package page

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // the templates
	"encoding/base64"
	"errors"
	"html/template"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
)

var (
	//go:embed pages.html
	pages string
	//go:embed style.css
	style string
)

// Options of the pages.
type Options struct {
	// Conn leads to the RPCs about identity.
	Conn grpc.ClientConnInterface
	// Providers are those of OpenID Connect.
	Providers *sso.Logins
	// URL is where browsers find the gateway; empty: where they ask.
	URL string
}

// Pages serves them.
type Pages struct {
	o        Options
	sessions identityv1.SessionServiceClient
	users    identityv1.UserServiceClient
	show     *template.Template
}

// New returns the pages.
func New(o Options) *Pages {
	return &Pages{o, identityv1.NewSessionServiceClient(o.Conn), identityv1.NewUserServiceClient(o.Conn), template.Must(template.New("").Parse(pages))}
}

// Register adds the paths of the pages.
func (p *Pages) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", p.login)
	mux.HandleFunc("POST /login", p.password)
	mux.HandleFunc("POST /logout", p.logout)
	mux.HandleFunc("GET /auth/login/{provider}", p.begin)
	mux.HandleFunc("POST /auth/login/{provider}", p.begin)
	mux.HandleFunc("GET /auth/callback/{provider}", p.callback)
	mux.HandleFunc("GET /auth/authorize", p.authorize)
	mux.HandleFunc("POST /auth/authorize", p.authorize)
	mux.HandleFunc("GET /device", p.device)
	mux.HandleFunc("POST /device", p.device)
}

// view is what every page shows.
type view struct {
	Title string
	Error string
	Nonce string
	Style template.CSS
	Data  any
}

// write sends a page.
func (p *Pages) write(w http.ResponseWriter, code int, name string, v view) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // it never fails
	v.Nonce = base64.RawURLEncoding.EncodeToString(raw[:])
	v.Style = template.CSS(style) // #nosec G203 -- it is embedded
	var body bytes.Buffer
	if err := p.show.ExecuteTemplate(&body, name, v); err != nil {
		http.Error(w, "this page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+v.Nonce+"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes())
}

// fail says in words what is not possible, as far as a caller may know it.
func (p *Pages) fail(w http.ResponseWriter, err error) {
	code, text := said(w, err)
	p.write(w, code, "message", view{Title: "This did not work", Error: text, Data: ""})
}

// said returns the status and the words for an error, and says when to come again.
func said(w http.ResponseWriter, err error) (code int, text string) {
	typed, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return http.StatusServiceUnavailable, "This is not possible just now: try again."
	}
	if typed.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(typed.RetryAfter.Seconds()))))
	}
	return runtime.HTTPStatusFromCode(rpc.ToStatus(err).Code()), typed.Message
}

// message shows a text.
func (p *Pages) message(w http.ResponseWriter, title, text string) {
	p.write(w, http.StatusOK, "message", view{Title: title, Data: text})
}

// going leads a browser to another server. A redirect of a form would be stopped there by the policy of forms.
func (p *Pages) going(w http.ResponseWriter, title, to string) {
	w.Header().Set("Refresh", "0; url="+to)
	p.write(w, http.StatusOK, "going", view{Title: title, Data: to})
}

// calls returns the context of calls for the session of the browser and nothing else that a request may bring.
func calls(r *http.Request) context.Context {
	c := gate.CredentialOf(r.Context())
	ctx := gate.WithCredential(r.Context(), gate.Credential{Session: c.Session, Address: c.Address, Agent: c.Agent})
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", r.Header.Get("X-Request-Id"))
}

// who returns the user of the session in the browser; "" when there is none that counts.
func (p *Pages) who(ctx context.Context) (*identityv1.GetProfileResponse, error) {
	if gate.CredentialOf(ctx).Session == "" {
		return nil, nil //nolint:nilnil // nobody is no error
	}
	res, err := p.users.GetProfile(ctx, &identityv1.GetProfileRequest{})
	if errs.CodeOf(err) == errs.CodeUnauthenticated {
		return nil, nil //nolint:nilnil // nobody is no error
	}
	return res, err
}

// base is the address of the gateway for the browser that asks.
func (p *Pages) base(r *http.Request) string {
	if p.o.URL != "" {
		return p.o.URL
	}
	return gate.Scheme(r) + "://" + r.Host
}
