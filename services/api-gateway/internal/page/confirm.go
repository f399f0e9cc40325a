package page

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// ask is what a command line asks for.
type ask struct{ User, Redirect, Challenge, State, Machine string }

const (
	longestState   = 200
	longestMachine = 100
)

// readAsk refuses what no command line on the machine of the browser asks for.
func readAsk(q url.Values) (a ask, err error) {
	a = ask{Redirect: q.Get("redirect_uri"), Challenge: q.Get("code_challenge"), State: q.Get("state"), Machine: q.Get("machine")}
	switch {
	case !loopback(a.Redirect):
		err = errs.Invalid("LOGIN_INVALID", "redirect_uri: want http://127.0.0.1:PORT/ or http://[::1]:PORT/")
	case q.Get("code_challenge_method") != "S256" || a.Challenge == "":
		err = errs.Invalid("LOGIN_INVALID", "code_challenge_method: want S256, and its code_challenge")
	case a.State == "" || len(a.State) > longestState:
		err = errs.Invalid("LOGIN_INVALID", "state: want 1 to 200 bytes")
	case len(a.Machine) > longestMachine || strings.ContainsFunc(a.Machine, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		err = errs.Invalid("LOGIN_INVALID", "machine: want at most 100 printable characters")
	}
	a.Machine = cmp.Or(a.Machine, "unnamed")
	return a, err
}

// loopback says whether an address leads to a port of the browser's machine, by no name that could mean another one.
func loopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return false
	}
	at, err := netip.ParseAddrPort(u.Host)
	home := at.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || at.Addr() == netip.IPv6Loopback()
	return err == nil && home && at.Port() != 0 && text == "http://"+at.String()+"/"
}

// query is what leads back to the page.
func (a ask) query() string {
	return url.Values{
		"redirect_uri": {a.Redirect}, "code_challenge": {a.Challenge}, "code_challenge_method": {"S256"}, "state": {a.State}, "machine": {a.Machine},
	}.Encode()
}

// authorize asks somebody to confirm the login of a command line, and leads the answer there.
func (p *Pages) authorize(w http.ResponseWriter, r *http.Request) {
	answered := r.Method == http.MethodPost
	q := r.URL.Query()
	if answered {
		_ = r.ParseForm() // what cannot be read is missing
		q = r.PostForm
	}
	a, err := readAsk(q)
	if err != nil {
		p.fail(w, err)
		return
	}
	var ok bool
	if a.User, ok = p.needLogin(w, r, "/auth/authorize?"+a.query()); !ok {
		return
	}
	switch {
	case !answered:
		p.write(w, http.StatusOK, "authorize", view{Title: "Confirm a login", Data: a})
	case q.Get("answer") == "confirm":
		res, err := p.sessions.GrantLogin(calls(r), &identityv1.GrantLoginRequest{Challenge: a.Challenge, Machine: a.Machine})
		if err != nil {
			p.fail(w, err)
			return
		}
		p.going(w, "Back to the command line", a.Redirect+"?"+url.Values{"code": {res.GetCode()}, "state": {a.State}}.Encode())
	default:
		p.going(w, "Refused", a.Redirect+"?"+url.Values{"error": {"access_denied"}, "state": {a.State}}.Encode())
	}
}

type deviceData struct {
	User, Code, Address, Agent string
	Asks                       bool
}

// device asks for the code of a login elsewhere, shows what it is, and confirms it.
func (p *Pages) device(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	user, ok := p.needLogin(w, r, "/device?"+url.Values{"code": {code[:min(len(code), maxUserCode)]}}.Encode())
	if !ok {
		return
	}
	d := deviceData{User: user, Code: code[:min(len(code), maxUserCode)]}
	if r.Method != http.MethodPost {
		p.write(w, http.StatusOK, "device", view{Title: "Log in elsewhere", Data: d})
		return
	}
	d.Code = r.PostFormValue("code")
	ctx := calls(r)
	if answer := r.PostFormValue("answer"); answer != "" {
		res, err := p.sessions.ApproveLogin(ctx, &identityv1.ApproveLoginRequest{UserCode: d.Code, Deny: answer != "confirm"})
		if err != nil {
			p.fail(w, err)
			return
		}
		p.message(w, map[bool]string{true: "Confirmed", false: "Refused"}[answer == "confirm"],
			"The login that "+cmp.Or(res.GetAgent(), "somebody")+" began from "+cmp.Or(res.GetAddress(), "an unknown address")+". This window can be closed.")
		return
	}
	res, err := p.sessions.GetDeviceLogin(ctx, &identityv1.GetDeviceLoginRequest{UserCode: d.Code})
	if err != nil {
		status, text := said(w, err)
		p.write(w, status, "device", view{Title: "Log in elsewhere", Error: text, Data: d})
		return
	}
	d.Asks, d.Address, d.Agent = true, cmp.Or(res.GetAddress(), "unknown"), cmp.Or(res.GetAgent(), "unknown")
	p.write(w, http.StatusOK, "device", view{Title: "Confirm a login", Data: d})
}

// maxUserCode is how long a code is that people type, with room for what they add.
const maxUserCode = 20
