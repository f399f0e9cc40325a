package gate

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// LoopbackHost says whether a Host header names this machine only.
func LoopbackHost(name string) bool {
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// secure says whether a browser reaches this request over TLS: only pages of this machine do without.
func secure(r *http.Request) bool { return r.TLS != nil || !LoopbackHost(r.Host) }

// Scheme is that by which a browser reaches this request.
func Scheme(r *http.Request) string {
	if secure(r) {
		return "https"
	}
	return "http"
}

// cookieNames are those that count for a request, the one that is set first. Elsewhere than on this machine it is one with
// the prefix __Host-, which another host of the same site cannot plant.
func cookieNames(r *http.Request) []string {
	if secure(r) {
		return []string{SecureCookie}
	}
	return []string{PlainCookie, SecureCookie}
}

// CookieName is that of the session's cookie in answers to a request.
func CookieName(r *http.Request) string { return cookieNames(r)[0] }

// SetSession keeps a session in a browser until it is closed; an empty secret removes it.
func SetSession(w http.ResponseWriter, r *http.Request, secret string) {
	setCookie(w, r, CookieName(r), secret, 0)
}

// flightSuffix ends the name of the cookie of a login that is under way elsewhere.
const flightSuffix = "-login"

// SetFlight keeps a login that is under way in a browser for a while; an empty value removes it.
func SetFlight(w http.ResponseWriter, r *http.Request, value string, life time.Duration) {
	setCookie(w, r, CookieName(r)+flightSuffix, value, life)
}

// Flight returns the login that the browser of a request began; "" when there is none.
func Flight(r *http.Request) string {
	c, err := r.Cookie(CookieName(r) + flightSuffix)
	if err != nil {
		return ""
	}
	return c.Value
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, life time.Duration) {
	c := &http.Cookie{ // #nosec G124 -- Secure wherever the connection is
		Name: name, Value: value, Path: "/", HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
