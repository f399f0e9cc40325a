// Package migrations holds the forward-only SQL of the schema identity.
package migrations

import "embed"

// FS has one file per step, applied in the order of their numbers.
//
//go:embed *.sql
var FS embed.FS
