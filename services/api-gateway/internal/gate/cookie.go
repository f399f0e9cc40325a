package gate

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
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
	c := &http.Cookie{Name: CookieName(r), Value: secret, Path: "/", HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteLaxMode} // #nosec G124 -- Secure wherever the connection is
	if secret == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
