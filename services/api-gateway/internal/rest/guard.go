package rest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
)

// guard keeps the pages of other sites out. The gateway listens on loopback, but a browser on this machine reaches it
// for every page that it shows: by a name that the page's owner points here (so only loopback names are answered), or
// directly (so writes from another origin are refused; without CORS headers no page can read an answer either).
func guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			writeStatus(w, r, http.StatusMisdirectedRequest, newStatus(codes.PermissionDenied, "HOST_REFUSED",
				"this gateway answers to localhost and loopback addresses only, until there is authentication"))
			return
		}
		if err := origins.Check(r); err != nil {
			writeStatus(w, r, http.StatusForbidden, newStatus(codes.PermissionDenied, "CROSS_ORIGIN", "requests from pages of another origin are refused"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackHost says whether the Host header names this machine only.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
