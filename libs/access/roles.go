package access

import (
	"maps"
	"slices"
	"strings"
)

// Grant is how far a role holds a permission.
type Grant int

// The grants, from less to more.
const (
	None Grant = iota
	Own        // for the caller's own objects
	Full
)

// The built-in roles.
const (
	OrgViewer       = "org-viewer"
	OrgDeveloper    = "org-developer"
	OrgOperator     = "org-operator"
	OrgAdmin        = "org-admin"
	PlatformAdmin   = "platform-admin"
	PlatformAuditor = "platform-auditor"
)

// Roles lists the built-in roles of an organisation, from less to more, and those of the platform after them.
func Roles() []string {
	return []string{OrgViewer, OrgDeveloper, OrgOperator, OrgAdmin, PlatformAuditor, PlatformAdmin}
}

// BuiltIn says whether a role is one of this package; all others are groups, which allow nothing by themselves.
func BuiltIn(role string) bool { return slices.Contains(Roles(), role) }

// OfPlatform says whether a role counts in every organisation.
func OfPlatform(role string) bool { return role == PlatformAdmin || role == PlatformAuditor }

// own is the ending of a permission that a role holds for its own objects only.
const own = "~"

// steps are what each role of an organisation holds beyond the one before it.
var steps = []struct { //nolint:gochecknoglobals // a constant table
	role        string
	permissions []string
}{
	{OrgViewer, []string{
		"request.read", "definition.read", "error_code.read", "ant.read", "queue.read", "log.read", "artifact.read", "cache.read", "config.read",
		"member.read", "org.read", "quota.read", "policy.read", "token.own", "session.own",
	}},
	{OrgDeveloper, []string{
		"request.submit", "request.cancel" + own, "definition.write", "error_code.write", "artifact.write", "cache.write", "secret.read",
		"config.write" + own, "secret.write" + own, "secret.reveal" + own,
	}},
	{OrgOperator, []string{"request.cancel", "request.operate", "approval.vote", "queue.operate", "ant.operate"}},
	{OrgAdmin, []string{
		"config.write", "secret.write", "secret.reveal", "member.write", "org.write", "ant.admin", "audit.read",
	}},
}

// auditor reads what everybody reads, and the audit log; it changes nothing and sees no secret.
var auditor = append(slices.Clone(steps[0].permissions), "secret.read", "audit.read", "org.list") //nolint:gochecknoglobals // a constant table

// tables hold the grants of each built-in role. That of platform-admin is not among them: it holds everything.
var tables = grants() //nolint:gochecknoglobals // a constant table

func grants() map[string]map[string]Grant {
	all := map[string]map[string]Grant{PlatformAuditor: {}}
	held := map[string]Grant{}
	add := func(to map[string]Grant, permission string) {
		name, grant := permission, Full
		if cut, ok := strings.CutSuffix(permission, own); ok {
			name, grant = cut, Own
		}
		to[name] = max(to[name], grant)
	}
	for _, step := range steps {
		for _, p := range step.permissions {
			add(held, p)
		}
		all[step.role] = map[string]Grant{}
		maps.Copy(all[step.role], held)
	}
	for _, p := range auditor {
		add(all[PlatformAuditor], p)
	}
	return all
}

// Holds returns how far a role holds a permission.
func Holds(role, permission string) Grant {
	if role == PlatformAdmin {
		return Full
	}
	return tables[role][permission]
}

// Grant returns how far a person holds a permission: what one of the roles holds, if the scopes name it.
func (c Caller) Grant(permission string) Grant {
	if c.Kind != Person || permission == "" || c.Scopes != nil && !slices.ContainsFunc(c.Scopes, func(s string) bool { return Covers(s, permission) }) {
		return None
	}
	got := None
	for _, role := range c.Roles {
		got = max(got, Holds(role, permission))
	}
	return got
}

// Covers says whether a scope names a permission: the permission itself, all of a noun ("request.*"), a verb of every
// noun ("*.read") or everything ("*").
func Covers(scope, permission string) bool {
	if scope == "*" || scope == permission {
		return true
	}
	noun, verb, _ := strings.Cut(permission, ".")
	wantNoun, wantVerb, ok := strings.Cut(scope, ".")
	return ok && (wantNoun == "*" || wantNoun == noun) && (wantVerb == "*" || wantVerb == verb)
}

// Permissions lists every permission that a built-in role holds by name.
func Permissions() []string {
	var all []string
	for _, table := range tables {
		for p := range table {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	all = append(all, "ant.connect", "org.admin", "policy.write", "quota.write") // of platform-admin alone
	slices.Sort(all)
	return all
}
