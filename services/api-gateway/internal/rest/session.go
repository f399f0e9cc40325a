package rest

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/proto"

	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// keepSession puts the session of a login that asked for it into a cookie, and takes it from the answer: scripts never
// see it. A logout removes the cookie.
func keepSession(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	x, ok := w.(*exchange)
	if !ok {
		return nil
	}
	switch m := m.(type) {
	case *identityv1.LoginResponse:
		if m.GetSession().GetKind() == "browser" {
			gate.SetSession(w, x.request, m.GetSecret())
			m.Secret = ""
		}
	case *identityv1.LogoutResponse:
		if _, err := x.request.Cookie(gate.CookieName(x.request)); err == nil {
			gate.SetSession(w, x.request, "")
		}
	}
	return nil
}
