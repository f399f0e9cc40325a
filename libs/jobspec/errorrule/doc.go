// Package errorrule turns failures of tasks into error codes and actions by rules.
package errorrule
