// Package read reads the values of nodes with what one rendering knows: a Reader replaces tokens by values, gives texts,
// numbers, durations, lists, variables and conditions, and reports faults at their places in the source.
//
// What is not known yet passes at the upload and is noted: the task is late, or a value is needed when the job starts.
// The methods report a fault and then return the zero value; they know fields only by the tables they are given, but for
// undefined_variables, which decides how values are read.
package read
