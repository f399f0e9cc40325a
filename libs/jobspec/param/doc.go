// Package param is the typed parameters of a job: what a definition says of them, and how values get their types. Declared
// outputs of tasks have the same types.
package param
