// Package table makes the statements of a table from one list of its columns: how each is written in batches, and where
// what is read of it goes.
package table

import (
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/storable"
)

// Column is a column of a table whose rows are R: how it is written in batches and where what is read of it goes. A table
// has one list of them, from which its statements are made.
type Column[R any] struct {
	name, typ string
	once      bool                 // written with a new row only
	keep      bool                 // NULL leaves the value as it is
	write     func(rows []R) any   // nil: it is only read
	read      func(row R) (to any) // nil: it is only written
}

// Of is a column that is written as get says and read into the target.
func Of[R, T any](name, typ string, get func(R) T, read func(R) any) Column[R] {
	return Column[R]{name: name, typ: typ, read: read, write: func(rows []R) any {
		values := make([]T, len(rows))
		for i, r := range rows {
			values[i] = get(r)
		}
		return values
	}}
}

// At is a column that is written from where it is read into.
func At[R, T any](name, typ string, p func(R) *T) Column[R] {
	return Of(name, typ, func(r R) T { return *p(r) }, func(r R) any { return p(r) })
}

// Number is a column of integers.
func Number[R any](name string, p func(R) *int) Column[R] {
	return Of(name, "int", func(r R) int32 { return int32(*p(r)) }, func(r R) any { return p(r) })
}

// Flag is a column of booleans.
func Flag[R any](name string, p func(R) *bool) Column[R] { return At(name, "bool", p) }

// Text is a column of texts, made storable.
func Text[R any](name string, p func(R) *string) Column[R] {
	return Of(name, "text", func(r R) string { return storable.Text(*p(r)) }, func(r R) any { return p(r) })
}

// Moment is a column of times.
func Moment[R any](name string, p func(R) **time.Time) Column[R] { return At(name, "timestamptz", p) }

// First is the column written with a new row only.
func (c Column[R]) First() Column[R] { c.once = true; return c }

// Kept is the column that NULL leaves as it is.
func (c Column[R]) Kept() Column[R] { c.keep = true; return c }

// Columns are those of a table.
type Columns[R any] []Column[R]

// Writes returns those that are written: of a new row, or of one that changed.
func (cs Columns[R]) Writes(fresh bool) Columns[R] {
	var some Columns[R]
	for _, c := range cs {
		if c.write != nil && (fresh || !c.once) {
			some = append(some, c)
		}
	}
	return some
}

// Args are the values of rows, by column.
func (cs Columns[R]) Args(rows []R) []any {
	args := make([]any, len(cs))
	for i, c := range cs {
		args[i] = c.write(rows)
	}
	return args
}

// Unnest makes rows of the arguments.
func (cs Columns[R]) Unnest() string {
	all := make([]string, len(cs))
	for i, c := range cs {
		if all[i] = fmt.Sprintf("unnest($%d::%s[]) AS %s", i+1, c.typ, c.name); c.typ == "json" { // sent as text
			all[i] = fmt.Sprintf("unnest($%d::text[])::json AS %s", i+1, c.name)
		}
	}
	return "SELECT " + strings.Join(all, ", ")
}

// Names lists them.
func (cs Columns[R]) Names(prefix string) string {
	all := make([]string, len(cs))
	for i, c := range cs {
		all[i] = prefix + c.name
	}
	return strings.Join(all, ", ")
}

// Update is the statement that changes rows, found by the first columns.
func (cs Columns[R]) Update(table string, keys int) string {
	cs = cs.Writes(false)
	where, set := make([]string, 0, keys), make([]string, 0, len(cs))
	for i, c := range cs {
		switch {
		case i < keys:
			where = append(where, fmt.Sprintf("t.%[1]s = u.%[1]s", c.name))
		case c.keep:
			set = append(set, fmt.Sprintf("%[1]s = coalesce(u.%[1]s, t.%[1]s)", c.name))
		default:
			set = append(set, fmt.Sprintf("%[1]s = u.%[1]s", c.name))
		}
	}
	return "UPDATE " + table + " t SET " + strings.Join(set, ", ") + " FROM (" + cs.Unnest() + ") u WHERE " + strings.Join(where, " AND ")
}

// Read is the list of a SELECT.
func (cs Columns[R]) Read(prefix string) string { return cs.readable().Names(prefix) }

func (cs Columns[R]) readable() Columns[R] {
	var some Columns[R]
	for _, c := range cs {
		if c.read != nil {
			some = append(some, c)
		}
	}
	return some
}

// Targets are where a row is read into.
func (cs Columns[R]) Targets(row R, more ...any) []any {
	var all []any
	for _, c := range cs {
		if c.read != nil {
			all = append(all, c.read(row))
		}
	}
	return append(all, more...)
}
