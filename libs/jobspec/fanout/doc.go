// Package fanout reads what a task runs for: the items of a list or the combinations of a matrix, and the variables that
// hold them.
package fanout
