// Package trigger is events that make requests of a job: what a definition says of them, and the templates over events,
// which are kept as written.
package trigger
