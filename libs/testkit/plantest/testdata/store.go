// Package testdata has statements of every kind that plantest finds. It is read, not built.
package testdata

import "fmt"

const (
	byKey   = `SELECT note FROM past WHERE id = ANY($1::bigint[])`
	columns = "id, state"
	begun   = `WITH src AS (SELECT 1 AS id) `
	joined  = begun + `SELECT p.note FROM src JOIN past p USING (id)`
	// a comment of sqlc does not hide it
	live   = "-- name: Live :many\nSELECT " + columns + ` FROM past WHERE state = 'LIVE' ORDER BY at LIMIT $1`
	newest = `SELECT id FROM past WHERE owner = $1 ORDER BY id DESC LIMIT $2`

	parameter = `SELECT id FROM past WHERE state = $1 ORDER BY at LIMIT $2`
	filtered  = `SELECT id FROM past WHERE owner = $1 AND note = $2 ORDER BY id DESC LIMIT $3`
	between   = `SELECT id FROM past WHERE id > $1 AND id < $2`
	joinedAll = `SELECT a.id FROM past a JOIN past b ON b.id = a.id + 1 WHERE b.note = 'x'`
	written   = `UPDATE past SET note = '' WHERE note = $1`
)

func errors(lock bool, list string) error {
	sql := `SELECT id FROM past WHERE owner = $1`
	if lock {
		run(`SELECT id FROM past WHERE id = $1 ` + list)
	}
	run(fmt.Sprintf(`SELECT id FROM past WHERE id IN (%s)`, list))
	return fmt.Errorf("select from past: %w", run(sql))
}
