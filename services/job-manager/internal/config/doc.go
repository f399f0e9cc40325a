// Package config keeps named values, configs and secrets, at four levels, and finds what a run sees of them: under each name
// that of the innermost level.
//
//	system ◀ org ◀ user (who submitted) ◀ job
//
// A name of a scope is that of one config or one secret. The value of a secret is stored only encrypted, one row for each of
// its versions (see libs/keyring); it leaves this package in Reveal, for people, and in Resolve, for the tasks that use it.
package config
