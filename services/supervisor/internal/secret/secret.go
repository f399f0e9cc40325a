// Package secret is what supervisor knows of secrets between job-manager, which keeps them, and the ant that gets them: for as
// long as one claim is answered.
package secret

import "log/slog"

// Query asks for the secrets of one task.
type Query struct {
	Org, JobType string
	// User who submitted the request.
	User    string
	Request string
	// Names of secrets.
	Names []string
}

// Answer has the values that were found, and why the others are not given.
type Answer struct {
	Values map[string]Value
	Faults []Fault
}

// Value is a secret in clear. What prints it prints "****".
type Value string

// Clear returns it.
func (v Value) Clear() string { return string(v) }

// String implements fmt.Stringer.
func (Value) String() string { return "****" }

// GoString implements fmt.GoStringer.
func (Value) GoString() string { return "****" }

// MarshalText implements encoding.TextMarshaler, for JSON too.
func (Value) MarshalText() ([]byte, error) { return []byte("****"), nil }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue("****") }

// Fault says why a secret is not given.
type Fault struct {
	Name string
	// Reason such as SECRET_NOT_FOUND, and a Message for people.
	Reason, Message string
	// Passing says that asking again may help.
	Passing bool
}
