package rest

import (
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// guard keeps the pages of other sites out. Writes from another origin are refused; without CORS headers no page can read an
// answer either. A gateway that needs no login listens on loopback only, but a browser on this machine reaches it for every
// page that it shows, by a name that the page's owner points here: unless the gateway answers anywhere, only loopback names
// are answered.
func guard(anywhere bool, next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !anywhere && !gate.LoopbackHost(r.Host) {
			writeStatus(w, r, http.StatusMisdirectedRequest, newStatus(codes.PermissionDenied, "HOST_REFUSED",
				"this gateway needs no login, so it answers to localhost and loopback addresses only"))
			return
		}
		if err := origins.Check(r); err != nil {
			writeStatus(w, r, http.StatusForbidden, newStatus(codes.PermissionDenied, "CROSS_ORIGIN", "requests from pages of another origin are refused"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
