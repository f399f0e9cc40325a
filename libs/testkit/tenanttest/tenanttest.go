// Package tenanttest proves that a schema keeps the rows of organisations apart, by walking its catalogue, and that a service tells
// none of another, by walking its methods: a table or a method that nobody has thought of fails.
package tenanttest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Run asks of every table of the pool's schema that it has org_id and keeps to it, unless it stands in open with the reason why
// its rows belong to no organisation. shared are the tables in which a row of none is everybody's to see.
func Run(t *testing.T, pool *pgxpool.Pool, open map[string]string, shared ...string) {
	t.Helper()
	owned := classify(t, pool, open)
	if len(owned) == 0 {
		t.Fatal("the schema has no table of an organisation")
	}
	role(t, pool)
	fill(t, pool, owned, shared)
	for _, table := range owned {
		t.Run(table, func(t *testing.T) { apart(t, pool, table) })
	}
	for _, table := range shared {
		t.Run(table+" shared", func(t *testing.T) { toAll(t, pool, table) })
	}
}

// classify returns the tables with org_id.
func classify(t *testing.T, pool *pgxpool.Pool, open map[string]string) (owned []string) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
			EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND a.attnotnull AND NOT a.attisdropped),
			(SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid)
		FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'goose_db_version' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var table string
	var forced, has bool
	var policies int
	_, err = pgx.ForEachRow(rows, []any{&table, &forced, &has, &policies}, func() error {
		seen[table] = true
		switch reason, is := open[table]; {
		case is && has:
			t.Errorf("table %s has org_id: it does not belong on the list of those without", table)
		case is && reason == "":
			t.Errorf("table %s needs a reason", table)
		case is:
		case !has:
			t.Errorf("table %s has no org_id: whose are its rows?", table)
		case !forced || policies != 1:
			t.Errorf("table %s: row-level security is forced: %t, policies: %d, want one", table, forced, policies)
		default:
			owned = append(owned, table)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for table := range open {
		if !seen[table] {
			t.Errorf("table %s does not exist (any more)", table)
		}
	}
	return owned
}

// role must be one that policies hold.
func role(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var above bool
	if err := pool.QueryRow(t.Context(), `SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user`).Scan(&above); err != nil || above {
		t.Fatalf("the role stands above policies: %t, %v", above, err)
	}
}

// fill puts a row of a and one of b into every table, and into the shared ones one of nobody. What it holds beside its
// organisation is no matter, so nothing is checked.
func fill(t *testing.T, pool *pgxpool.Pool, tables, shared []string) {
	t.Helper()
	inTx(t, pool, "*", func(tx pgx.Tx) {
		exec(t, tx, `SET LOCAL session_replication_role = replica`)
		for _, table := range tables {
			exec(t, tx, `DELETE FROM `+table)
			for _, name := range column(t, tx, `SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c'`, table) {
				exec(t, tx, `ALTER TABLE `+table+` DROP CONSTRAINT `+pgx.Identifier{name}.Sanitize())
			}
			exec(t, tx, insert(t, tx, table, "a"))
			exec(t, tx, insert(t, tx, table, "b"))
		}
		for _, table := range shared {
			exec(t, tx, insert(t, tx, table, ""))
		}
	})
}

// insert is a statement that gives every column without a default some value that differs by organisation.
func insert(t *testing.T, tx pgx.Tx, table, org string) string {
	t.Helper()
	rows, err := tx.Query(t.Context(), `SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
		WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' AND (a.attname = 'org_id' OR a.attnotnull AND NOT a.atthasdef)`, table)
	if err != nil {
		t.Fatal(err)
	}
	var names, values []string
	var name, kind string
	_, err = pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		value := "'" + org + "'"
		switch {
		case name == "org_id" || kind == "text" || kind == "bytea":
		case kind == "uuid":
			value = "md5('" + org + "')::uuid"
		case strings.HasSuffix(kind, "[]"):
			value = "'{}'"
		case strings.HasPrefix(kind, "timestamp"):
			value = "now()"
		case kind == "boolean":
			value = "false"
		case kind == "json" || kind == "jsonb":
			value = "'{}'"
		case kind == `"char"`:
			value = "'c'"
		default:
			value = "ascii('" + org + "')"
		}
		names, values = append(names, pgx.Identifier{name}.Sanitize()), append(values, value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(names, ", "), strings.Join(values, ", "))
}

// apart asks for the rows of b as a.
func apart(t *testing.T, pool *pgxpool.Pool, table string) {
	const others = ` WHERE org_id NOT IN ('a', '')`
	count := func(tx pgx.Tx, where string) (n int) {
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	inTx(t, pool, "*", func(tx pgx.Tx) {
		if n := count(tx, others); n != 1 {
			t.Errorf("a service's own work sees %d rows of b, want 1", n)
		}
	})
	for _, org := range []string{"", "-", "%", "A", "a'"} { // and when the setting is missing, below
		inTx(t, pool, org, func(tx pgx.Tx) {
			if n := count(tx, ` WHERE org_id <> ''`); n != 0 {
				t.Errorf("%q sees %d rows", org, n)
			}
		})
	}
	inTx(t, pool, "a", func(tx pgx.Tx) {
		if n := count(tx, ` WHERE org_id = 'a'`); n != 1 {
			t.Errorf("a sees %d of its rows, want 1", n)
		}
		if n := count(tx, others); n != 0 {
			t.Errorf("a sees %d rows of others", n)
		}
		if n := exec(t, tx, `UPDATE `+table+` SET org_id = org_id`+others); n != 0 {
			t.Errorf("a changes %d rows of others", n)
		}
		if n := exec(t, tx, `DELETE FROM `+table+others); n != 0 {
			t.Errorf("a deletes %d rows of others", n)
		}
	})
	for what, sql := range map[string]func(pgx.Tx) string{
		"inserts a row of c":       func(tx pgx.Tx) string { return insert(t, tx, table, "c") },
		"inserts a row of nobody":  func(tx pgx.Tx) string { return insert(t, tx, table, "") },
		"gives b a row of its own": func(pgx.Tx) string { return `UPDATE ` + table + ` SET org_id = 'b'` },
	} {
		inTx(t, pool, "a", func(tx pgx.Tx) {
			exec(t, tx, `SET LOCAL session_replication_role = replica`)
			_, err := tx.Exec(t.Context(), sql(tx))
			if err == nil || !strings.Contains(err.Error(), "row-level security") {
				t.Errorf("a %s: %v", what, err)
			}
		})
	}
	missing(t, pool, table)
}

// missing asks on a connection that nobody has told anything.
func missing(t *testing.T, pool *pgxpool.Pool, table string) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig.Copy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil || n != 0 {
		t.Errorf("a connection without the setting sees %d rows, %v", n, err)
	}
}

// toAll asks for the row of nobody.
func toAll(t *testing.T, pool *pgxpool.Pool, table string) {
	inTx(t, pool, "b", func(tx pgx.Tx) {
		var n int
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE org_id = ''`).Scan(&n); err != nil || n != 1 {
			t.Errorf("b sees %d rows that are everybody's, want 1: %v", n, err)
		}
		exec(t, tx, `SET LOCAL session_replication_role = replica`)
		if _, err := tx.Exec(t.Context(), `UPDATE `+table+` SET org_id = org_id WHERE org_id = ''`); err == nil {
			t.Error("b changes a row that is everybody's")
		}
	})
}

// inTx runs f in a transaction of an organisation, which is rolled back unless it is everyone's.
func inTx(t *testing.T, pool *pgxpool.Pool, org string, f func(pgx.Tx)) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SELECT set_config('app.org', $1, true)`, org); err != nil {
		t.Fatal(err)
	}
	f(tx)
	if org == "*" {
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func exec(t *testing.T, tx pgx.Tx, sql string) int64 {
	t.Helper()
	tag, err := tx.Exec(t.Context(), sql)
	if err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
	return tag.RowsAffected()
}

func column(t *testing.T, tx pgx.Tx, sql string, args ...any) []string {
	t.Helper()
	rows, err := tx.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}
