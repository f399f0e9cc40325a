package page

import (
	"cmp"
	"net/http"
	"net/url"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
)

// home is where a login ends that says nothing else.
const home = "/login"

type loginData struct {
	To, User          string
	Passwords, Needed bool
	Providers         []providerData
}

type providerData struct{ Name, Title string }

// login shows how one can log in, or as whom one is.
func (p *Pages) login(w http.ResponseWriter, r *http.Request) {
	ctx := calls(r)
	to := cmp.Or(r.URL.Query().Get("to"), home)
	if !sso.Local(to) {
		p.fail(w, badPath())
		return
	}
	who, err := p.who(ctx)
	switch {
	case err != nil:
		p.fail(w, err)
	case who == nil:
		p.form(w, r, http.StatusOK, to, "", "")
	case to != home:
		http.Redirect(w, r, to, http.StatusSeeOther) // #nosec G710 -- a path of this server
	default:
		p.write(w, http.StatusOK, "home", view{Title: "Formicary", Data: struct{ User, Org string }{who.GetUser().GetName(), who.GetOrg()}})
	}
}

func badPath() error { return errs.Invalid("REQUEST_INVALID", "to: want a path of this server") }

// form is the page of logins.
func (p *Pages) form(w http.ResponseWriter, r *http.Request, code int, to, user, wrong string) {
	ways, err := p.sessions.ListLoginWays(calls(r), &identityv1.ListLoginWaysRequest{})
	if err != nil {
		p.fail(w, err)
		return
	}
	data := loginData{To: to, User: user, Passwords: ways.GetPasswords(), Needed: ways.GetNeeded()}
	names, titles := p.o.Providers.Names()
	for i := range names {
		data.Providers = append(data.Providers, providerData{names[i], titles[i]})
	}
	p.write(w, code, "login", view{Title: "Log in", Error: wrong, Data: data})
}

// password logs somebody in.
func (p *Pages) password(w http.ResponseWriter, r *http.Request) {
	to := cmp.Or(r.PostFormValue("to"), home)
	if !sso.Local(to) {
		p.fail(w, badPath())
		return
	}
	user := r.PostFormValue("user")
	res, err := p.sessions.Login(calls(r), &identityv1.LoginRequest{User: user, Password: r.PostFormValue("password"), Cookie: true})
	if err != nil {
		code, text := said(w, err)
		p.form(w, r, code, to, user, text)
		return
	}
	gate.SetSession(w, r, res.GetSecret())
	http.Redirect(w, r, to, http.StatusSeeOther) // #nosec G710 -- a path of this server
}

func (p *Pages) logout(w http.ResponseWriter, r *http.Request) {
	if _, err := p.sessions.Logout(calls(r), &identityv1.LogoutRequest{}); err != nil {
		p.fail(w, err)
		return
	}
	gate.SetSession(w, r, "")
	http.Redirect(w, r, home, http.StatusSeeOther)
}

// begin sends a browser to a provider. The code of an invitation comes by a form only, so that it is in no address.
func (p *Pages) begin(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("provider")
	s := sso.Start{Base: p.base(r), To: cmp.Or(r.URL.Query().Get("to"), home)}
	if r.Method == http.MethodPost {
		s.To, s.Invitation = cmp.Or(r.PostFormValue("to"), home), r.PostFormValue("invitation")
	}
	at, flight, err := p.o.Providers.Begin(r.Context(), name, s)
	if err != nil {
		p.fail(w, err)
		return
	}
	gate.SetFlight(w, r, flight, sso.FlightTime)
	if r.Method == http.MethodPost {
		p.going(w, "On to "+name, at)
		return
	}
	http.Redirect(w, r, at, http.StatusFound) // #nosec G710 -- the provider's address
}

// callback takes up a login that comes back from a provider. What the browser kept of it counts once.
func (p *Pages) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	flight := gate.Flight(r)
	gate.SetFlight(w, r, "", 0)
	res, err := p.sessions.FinishProviderLogin(calls(r), &identityv1.FinishProviderLoginRequest{
		Provider: r.PathValue("provider"), Code: q.Get("code"), State: q.Get("state"), Error: q.Get("error"), Flight: flight,
	})
	if err != nil {
		p.fail(w, err)
		return
	}
	gate.SetSession(w, r, res.GetSecret())
	http.Redirect(w, r, res.GetTo(), http.StatusSeeOther)
}

// needLogin sends somebody who is not logged in to do so and come back; it says whether there is somebody.
func (p *Pages) needLogin(w http.ResponseWriter, r *http.Request, back string) (user string, ok bool) {
	who, err := p.who(calls(r))
	switch {
	case err != nil:
		p.fail(w, err)
		return "", false
	case who == nil:
		http.Redirect(w, r, "/login?to="+url.QueryEscape(back), http.StatusSeeOther)
		return "", false
	}
	return who.GetUser().GetName(), true
}
