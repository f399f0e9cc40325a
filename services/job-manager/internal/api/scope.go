package api

import (
	"context"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/job-manager/internal/config"
)

// use is what is to be done in a scope.
type use int

const (
	look   use = iota // names and configs
	change            // or reveal a secret
)

const platformAdmin = "platform-admin"

// toScope reads a scope and decides whether the caller may use it so. Scopes of other organisations and users do not exist
// for it; who may change its own things only changes those of the scope users.
func toScope(ctx context.Context, text string, u use) (config.Scope, error) {
	c := access.From(ctx)
	kind, owner, named := strings.Cut(text, "/")
	none := errs.NotFound("SCOPE_NOT_FOUND", "there is no scope %q: want system, orgs (or orgs/ORG), users or jobs/JOB_TYPE", text)
	if named && owner == "" || c.Org == "" {
		return config.Scope{}, none
	}
	if access.OwnOnly(ctx) && u == change && kind != "users" {
		return config.Scope{}, errs.Denied("PERMISSION_MISSING", "you may change and reveal your own only, in the scope users: what others use is an administrator's")
	}
	switch kind {
	case "", "system":
		switch {
		case named:
			return config.Scope{}, none
		case u == change && !slices.Contains(c.Roles, platformAdmin):
			return config.Scope{}, errs.Denied("PERMISSION_MISSING", "what counts for all organisations is changed and revealed by %s only", platformAdmin)
		}
		return config.Scope{Level: config.System}, nil
	case "orgs":
		if named && owner != c.Org {
			return config.Scope{}, none
		}
		return config.Scope{Org: c.Org, Level: config.Org}, nil
	case "users":
		if named && owner != c.User || c.User == "" {
			return config.Scope{}, none
		}
		return config.Scope{Org: c.Org, Level: config.User, Owner: c.User}, nil
	case "jobs":
		if !named {
			return config.Scope{}, none
		}
		return config.Scope{Org: c.Org, Level: config.Job, Owner: owner}, nil
	}
	return config.Scope{}, none
}

func fromScope(s config.Scope) string {
	switch s.Level {
	case config.Org:
		return "orgs/" + s.Org
	case config.User:
		return "users/" + s.Owner
	case config.Job:
		return "jobs/" + s.Owner
	default:
		return "system"
	}
}
