// Package environ is the environment of a task's process: which variables may be in it, which of them only the
// definition itself may set, and which have room there or are given in files.
package environ
