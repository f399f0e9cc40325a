package identity

import (
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
)

var (
	orgForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	userForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,62}$`)
	groupForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

const (
	maxGroups = 50
	maxTitle  = 200
)

// reserved are names that callers have who are no users.
var reserved = []string{"system", "local", "ant", "service", "anonymous", "latest", "profile", "configs", "me"}

// CheckOrgID refuses what is no id of an org.
func CheckOrgID(id string) error {
	if !orgForm.MatchString(id) {
		return errs.Invalid("ORG_INVALID", "%q is no id of an organisation: want at most 63 of a-z, 0-9 and -, not beginning with -", id)
	}
	return nil
}

// CheckUserName refuses what is no name of a user. Approvals name users and roles alike, so no user is called like a role.
func CheckUserName(name string) error {
	if !userForm.MatchString(name) {
		return errs.Invalid("USER_INVALID", "%q is no name of a user: want at most 63 of a-z, 0-9 and . _ @ -, beginning with a letter or digit", name)
	}
	if slices.Contains(reserved, name) || access.BuiltIn(name) || strings.HasPrefix(name, "system") {
		return errs.Invalid("USER_INVALID", "%q is a name of the colony itself", name)
	}
	return nil
}

// CheckGroups refuses names that are no groups: those of the built-in roles would look like rights.
func CheckGroups(groups []string) error {
	if len(groups) > maxGroups {
		return errs.Invalid("GROUP_INVALID", "%d groups, at most %d are possible", len(groups), maxGroups)
	}
	for _, g := range groups {
		if !groupForm.MatchString(g) || access.BuiltIn(g) || slices.Contains(reserved, strings.ToLower(g)) {
			return errs.Invalid("GROUP_INVALID", "%q is no name of a group: want at most 63 letters, digits and . _ -, and no built-in role", g)
		}
	}
	return nil
}

// checkOrgRole refuses what is no role that a member can have.
func checkOrgRole(role string) error {
	if !slices.Contains(OrgRoles, role) {
		return errs.Invalid("ROLE_INVALID", "%q is no role of a member: want one of %s", role, strings.Join(OrgRoles, ", "))
	}
	return nil
}

func checkTitle(title, email string) error {
	if len(title) > maxTitle {
		return errs.Invalid("USER_INVALID", "a title has at most %d bytes", maxTitle)
	}
	if email == "" {
		return nil
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email || len(email) > maxTitle {
		return errs.Invalid("USER_INVALID", "%q is no mail address", email)
	}
	return nil
}

// CleanProfile makes of what somebody is called elsewhere what can be stored: a title that is cut, and no mail address that is none.
func CleanProfile(title, email string) (cleanTitle, cleanEmail string) {
	title = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(title, ""))
	if len(title) > maxTitle {
		title = strings.ToValidUTF8(title[:maxTitle], "")
	}
	if checkTitle("", email) != nil || strings.ContainsFunc(email, func(r rune) bool { return !unicode.IsPrint(r) }) {
		email = ""
	}
	return title, email
}

// clean sorts groups and takes doubles out.
func clean(groups []string) []string {
	groups = slices.Clone(groups)
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if groups == nil {
		groups = []string{}
	}
	return groups
}

// NameFrom makes a name for a user of what somebody is called elsewhere; "user" when nothing of it will do.
func NameFrom(called string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '@', r == '-':
			return r
		case r == ' ':
			return '.'
		}
		return -1
	}, strings.ToLower(called))
	name = strings.TrimLeft(name, "._@-")
	name = name[:min(len(name), maxNameFrom)]
	if CheckUserName(name) != nil {
		return "user"
	}
	return name
}

const maxNameFrom = 50 // leaves room for a number
