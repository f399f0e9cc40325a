// Package field is how the tables of the language are written: a Field with the form of its value, a Level that is a kind
// of mapping, and the JSON Schema that follows from them.
package field
