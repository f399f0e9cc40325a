package config

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/keyring"
)

// Level says for whom a value counts.
type Level string

// The levels, from the outermost to the innermost.
const (
	System Level = "system"
	Org    Level = "org"
	User   Level = "user"
	Job    Level = "job"
)

// Scope is where names are unique.
type Scope struct {
	Org   string // empty of System
	Level Level
	Owner string // the user or the job type of the levels that have one
}

// text is the scope in the place that a secret is encrypted for.
func (s Scope) text() string { return strings.TrimSuffix(string(s.Level)+"/"+s.Owner, "/") }

// Place is where a version of a secret in this scope is encrypted for.
func (s Scope) Place(name string, version int) keyring.Place {
	return keyring.Place{Org: s.Org, Scope: s.text(), Name: name, Version: version}
}

// visible are the scopes that a run looks into, from the outermost to the innermost.
func visible(org, user, jobType string) []Scope {
	scopes := []Scope{{Level: System}, {Org: org, Level: Org}}
	if user != "" {
		scopes = append(scopes, Scope{Org: org, Level: User, Owner: user})
	}
	return append(scopes, Scope{Org: org, Level: Job, Owner: jobType})
}

// Entry is a config, or what may be known of a secret.
type Entry struct {
	ID uuid.UUID
	Scope
	Name string
	// Type of a config is that of its value where it is used, and Value its text.
	Type, Value string
	Secret      bool
	Version     int // the newest one of a secret
	Description string
	// Change is another number after every change.
	Change               int64
	CreatedAt, UpdatedAt time.Time
	UpdatedBy            string
}

// Place is where a version of the secret is encrypted for.
func (e *Entry) Place(version int) keyring.Place { return e.Scope.Place(e.Name, version) }

// Etag names the state of an entry.
func (e *Entry) Etag() string { return strconv.FormatInt(e.Change, 10) }

// Version is one value of a secret, without it.
type Version struct {
	Version   int
	KeyID     string
	CreatedAt time.Time
	CreatedBy string
}

// Masked is what a secret shows instead of its value. Given as a value it keeps the one that there is.
const Masked = "****"

// Bounds of values, and how many versions of a secret and entries of a scope there are.
const (
	MinSecret    = 6 // characters: what is shorter cannot be masked without masking half of the log
	MaxValue     = 64 << 10
	KeptVersions = 10
	MaxEntries   = 1000
)

// Types of configs, the first is that of an empty one.
func Types() []string { return []string{"string", "int", "number", "bool", "json"} }

var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,99}$`)

func checkName(reason, name string) error {
	switch {
	case !validName.MatchString(name):
		return errs.Invalid(reason, "%q cannot be the name: want at most 100 letters, digits, _ and -, and no digit or - at the beginning", name)
	case template.IsBuiltin(name):
		return errs.Invalid(reason, "%s is a built-in variable, which would always go before it", name)
	}
	return nil
}

// CheckSecret says what is wrong with the value of a secret; no error holds it.
func CheckSecret(value string) error {
	switch {
	case !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0:
		return errs.Invalid("SECRET_INVALID", "the secret is no text: want UTF-8 without NUL; encode it, in base64 for example")
	case len(value) > MaxValue:
		return errs.Invalid("SECRET_TOO_LONG", "the secret has %d bytes, at most %d are possible", len(value), MaxValue)
	case utf8.RuneCountInString(strings.TrimSpace(value)) < MinSecret:
		return errs.Invalid("SECRET_TOO_SHORT", "the secret has fewer than %d characters: it could not be masked in logs without masking what is none", MinSecret)
	}
	return nil
}

// check says what is wrong with a config.
func (e *Entry) check() error {
	if err := checkName("CONFIG_INVALID", e.Name); err != nil {
		return err
	}
	if !slices.Contains(Types(), e.Type) {
		return errs.Invalid("CONFIG_INVALID", "%q is no type of a config: want one of %s", e.Type, strings.Join(Types(), ", "))
	}
	if len(e.Value) > MaxValue {
		return errs.Invalid("CONFIG_INVALID", "the value has %d bytes, at most %d are possible", len(e.Value), MaxValue)
	}
	if e.Value == Masked {
		return errs.Invalid("CONFIG_INVALID", "%s stands for the value of a secret", Masked)
	}
	if _, ok := valueOf(e.Type, e.Value); !ok {
		return errs.Invalid("CONFIG_INVALID", "the value of %s is not of the type %s", e.Name, e.Type)
	}
	return nil
}

// valueOf is the value that a text is.
func valueOf(kind, text string) (v any, ok bool) {
	switch kind {
	case "int":
		v, ok = exact.Number(json.Number(text))
		_, real := v.(float64)
		return v, ok && !real && !strings.ContainsAny(text, ".eE")
	case "number":
		return exact.Number(json.Number(text))
	case "bool":
		return text == "true", text == "true" || text == "false"
	case "json":
		v, err := exact.Decode([]byte(text))
		return v, err == nil
	default:
		return text, true
	}
}
