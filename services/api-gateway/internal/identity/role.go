package identity

import "slices"

// The built-in roles.
const (
	PlatformAdmin   = "platform-admin"
	PlatformAuditor = "platform-auditor"
	OrgAdmin        = "org-admin"
)

// OrgRoles are those that a member of an org can have.
var OrgRoles = []string{"org-viewer", "org-developer", "org-operator", OrgAdmin}

// PlatformRoles are those of the whole colony.
var PlatformRoles = []string{PlatformAdmin, PlatformAuditor}

func isBuiltIn(name string) bool {
	return slices.Contains(OrgRoles, name) || slices.Contains(PlatformRoles, name)
}
