package gate

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
)

// Local lets callers without a credential in, for a colony that only this machine reaches: they are the local
// administrator, or whom they say to be, which trying out approvals needs. A credential that is sent counts instead.
type Local struct{ People People }

// Authenticate implements People.
func (l Local) Authenticate(ctx context.Context, said Credential) (access.Caller, error) {
	if !said.Empty() {
		return l.People.Authenticate(ctx, said)
	}
	c := access.Caller{Kind: access.Person, Org: DefaultOrg, User: localUser, Roles: said.Roles}
	if said.User != "" && said.User != systemUser {
		c.User = said.User
	}
	for _, name := range append([]string{c.User}, c.Roles...) {
		if !isName(name) {
			return c, errs.Invalid("USER_INVALID", "%q is no name of a user or role: want at most %d printable characters, not beginning with system", name, longestName)
		}
	}
	if len(c.Roles) > maxRoles {
		return c, errs.Invalid("USER_INVALID", "%d roles are named, at most %d are possible", len(c.Roles), maxRoles)
	}
	if said.Org != "" {
		c.Org = said.Org
	}
	if !hasBuiltIn(c.Roles) {
		c.Roles = append(c.Roles, access.PlatformAdmin)
	}
	return c, nil
}

// hasBuiltIn says whether one of the roles allows anything by itself: who names one is tried as no more than that.
func hasBuiltIn(roles []string) bool {
	return slices.ContainsFunc(roles, access.BuiltIn)
}

const (
	// DefaultOrg is there from the first start.
	DefaultOrg  = "default"
	localUser   = "local"
	systemUser  = "system" // what rows say that no person asked for
	longestName = 100
	maxRoles    = 50
)

// isName says whether a caller may bear the name.
func isName(name string) bool {
	if len(name) > longestName || name == systemUser || strings.HasPrefix(name, systemUser+":") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}

// Nobody knows no credential: a colony without users takes none.
type Nobody struct{}

// Authenticate implements People.
func (Nobody) Authenticate(_ context.Context, c Credential) (access.Caller, error) {
	if c.Empty() {
		return access.Caller{}, nil
	}
	return access.Caller{}, errs.Unauthenticated("CREDENTIAL_INVALID", "this token or session is not known here, or does not count any more: log in again")
}
