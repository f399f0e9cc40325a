package identity

import "github.com/formicary/formicary/libs/access"

// The roles that keep things mendable.
const (
	PlatformAdmin   = access.PlatformAdmin
	PlatformAuditor = access.PlatformAuditor
	OrgAdmin        = access.OrgAdmin
)

// OrgRoles are those that a member of an org can have, PlatformRoles those of the whole colony.
var (
	OrgRoles      = []string{access.OrgViewer, access.OrgDeveloper, access.OrgOperator, OrgAdmin} //nolint:gochecknoglobals // constants
	PlatformRoles = []string{PlatformAdmin, PlatformAuditor}                                      //nolint:gochecknoglobals // constants
)
