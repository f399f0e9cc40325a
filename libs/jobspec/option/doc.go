// Package option reads the options that a task has for its executor: containers and pods with their volumes and placement,
// artifacts and the cache.
package option
