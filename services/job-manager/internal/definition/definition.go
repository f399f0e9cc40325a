// Package definition keeps the versions of job definitions: which texts are valid, which version is the newest of its
// job type, and what new requests of the type get.
//
// A version never changes once it is stored, so parsed versions are cached by id without limit of time. Which version is
// the newest changes, here and in other replicas: that cache is a guess, and the transaction that uses it verifies it.
package definition

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// Definition is one stored version of a job type.
type Definition struct {
	ID             uuid.UUID
	OrgID          string
	JobType        string
	Version        int
	SemVersion     string
	Description    string
	Disabled       bool // of the job type
	SHA256         []byte
	YAML           string // empty in lists
	MaxConcurrency int
	Priority       int
	RequiredParams []string
	// PublicPlugin lets other organisations fork it.
	PublicPlugin bool
	// Audience hears of a job that ends before it is rendered.
	Audience  plan.Audience
	CreatedAt time.Time
	CreatedBy string
}

// Parsed is a stored version ready for use.
type Parsed struct {
	ID      uuid.UUID
	OrgID   string
	Version int
	Spec    *jobspec.Definition
}

// Query asks for the version that a name means.
type Query struct {
	OrgID, JobType string
	// Version is a number, a sem_version or a range of those; empty means the newest.
	Version string
	// Plugins of other organisations are meant too, where the own one has no such type.
	Plugins bool
}

// Resolved is the version that a name meant when it was looked up.
type Resolved struct {
	*Parsed
	// Seen is the newest version of the job type then, where the choice depends on it; else 0.
	Seen int
	// Disabled is the switch of the job type then.
	Disabled bool
}

// Upload is a text as a person sends it.
type Upload struct {
	OrgID, User string
	// File is the name used in messages; empty means job.yaml.
	File string
	YAML string
	// ValidateOnly stores nothing.
	ValidateOnly bool
}

// Ref names a version: by its id, or the newest of a job type.
type Ref struct {
	OrgID string
	// ID wins when it is not nil.
	ID      uuid.UUID
	JobType string
}

// Page asks for a part of a list.
type Page struct {
	OrgID string
	// JobType lists its versions, newest first; empty lists the newest of every type by name.
	JobType string
	Limit   int
	// AfterType and BeforeVersion are where the page before ended.
	AfterType     string
	BeforeVersion int
}

// Store keeps definitions.
type Store interface {
	// Create stores d as the newest version of its job type and answers with what is stored, or finds the newest
	// version equal. With dryRun it stores nothing and still says what would be.
	Create(ctx context.Context, d Definition, dryRun bool) (stored Definition, created bool, err error)
	// Find returns one version with its text; one named by its id even when it was deleted.
	Find(ctx context.Context, ref Ref) (Definition, error)
	// Owner returns whose job type a name means to org: its own, or that of the plugin of the name.
	Owner(ctx context.Context, org, jobType string) (string, error)
	// Versions returns the versions of a job type that have a sem_version, and the one with the number if it is not 0,
	// with the newest number of the type. publicOnly leaves out those that other organisations may not fork.
	Versions(ctx context.Context, org, jobType string, number int, publicOnly bool) (names []VersionName, newest int, err error)
	List(ctx context.Context, p Page) ([]Definition, error)
	// Plugins lists the newest version of every plugin; of the page it takes AfterType and Limit.
	Plugins(ctx context.Context, p Page) ([]Definition, error)
	// SetDisabled turns a switch, also for the organisations that fork the type as a plugin.
	SetDisabled(ctx context.Context, org, jobType string, disabled bool) error
	// Delete removes all versions of the type, unless a request of it is not terminal.
	Delete(ctx context.Context, org, jobType string) error
}

// NotFound is the error for a version that does not exist for this caller.
func NotFound(name string) error {
	return errs.NotFound("DEFINITION_NOT_FOUND", "no job definition %s", name)
}

const defaultFile = "job.yaml"

// parse checks the text and returns what would be stored. All faults are reported at once.
func parse(u Upload) (Definition, source.Problems, error) {
	if u.File == "" {
		u.File = defaultFile
	}
	spec, warnings, err := jobspec.Parse(u.File, []byte(u.YAML))
	if err != nil {
		return Definition{}, nil, invalid(u.File, err)
	}
	sum := sha256.Sum256([]byte(u.YAML))
	return Definition{
		OrgID: u.OrgID, JobType: spec.JobType, SemVersion: spec.SemVersion, Description: spec.Description, Disabled: spec.Disabled,
		SHA256: sum[:], YAML: u.YAML, MaxConcurrency: spec.MaxConcurrency, Priority: spec.Priority,
		RequiredParams: spec.RequiredParams, PublicPlugin: spec.PublicPlugin, Audience: spec.Audience, CreatedBy: u.User,
	}, warnings, nil
}

func invalid(file string, err error) error {
	out := errs.Invalid("DEFINITION_INVALID", "%s is not a valid job definition", file)
	return out.WithViolations(Violations(err)...)
}

// Violations turns the faults that jobspec found into those of a request.
func Violations(err error) []errs.Violation {
	problems, ok := err.(source.Problems) //nolint:errorlint // jobspec returns this very type
	if !ok {
		return []errs.Violation{{Description: err.Error()}}
	}
	var out []errs.Violation
	for _, p := range problems {
		if p.Warning {
			continue
		}
		v := errs.Violation{Field: p.Field, Description: p.Message, Reason: p.Code}
		if v.Field == "" || p.Line > 0 {
			v.Field = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
		}
		if p.Expected != "" {
			v.Description += ", expected " + p.Expected
		}
		out = append(out, v)
	}
	return out
}
