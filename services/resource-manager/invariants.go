package resourcemanager

import (
	"embed"

	"github.com/formicary/formicary/libs/audit"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Invariants of the schema. Whether every hold names a live attempt takes two schemas to say; the command audit does.
func Invariants() []audit.Check {
	return []audit.Check{
		{Name: "used_is_held", SQL: `SELECT format('ant %s uses %s slots, its holds say %s', a.id, a.used, COALESCE(h.n, 0))
			FROM ant a LEFT JOIN (SELECT ant_id, sum(slots) AS n FROM hold GROUP BY ant_id) h ON h.ant_id = a.id
			WHERE a.used <> COALESCE(h.n, 0) ORDER BY a.id LIMIT 20`},
		{Name: "used_within_slots", SQL: `SELECT format('ant %s uses %s of %s slots', id, used, slots)
			FROM ant WHERE used NOT BETWEEN 0 AND slots ORDER BY id LIMIT 20`},
		{Name: "slots_are_offered", SQL: `SELECT format('ant %s offers %s slots, uses %s and may use %s', id, offered, used, slots)
			FROM ant WHERE slots <> GREATEST(offered, used) ORDER BY id LIMIT 20`},
		{Name: "hold_has_ant", SQL: `SELECT format('hold %s is on ant %s, which is not known', attempt_uid, ant_id)
			FROM hold h WHERE NOT EXISTS (SELECT FROM ant a WHERE a.id = h.ant_id) ORDER BY attempt_uid LIMIT 20`},
		{Name: "live_ant_has_session", SQL: `SELECT format('ant %s is %s without a session', id, state)
			FROM ant WHERE state <> 'OFFLINE' AND session IS NULL ORDER BY id LIMIT 20`},
	}
}
