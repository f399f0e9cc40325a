package pgdb

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// The policies of every schema compare the organisation of a row with the setting app.org of the connection:
//
//	ALTER TABLE x ENABLE ROW LEVEL SECURITY;
//	ALTER TABLE x FORCE ROW LEVEL SECURITY;
//	CREATE POLICY tenant ON x USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
//
// They are the second wall: statements name the organisation themselves. A connection whose setting is missing sees nothing.
const orgSetting = "app.org"

const (
	// everyone is the organisation of a service's own work, which sees the rows of all.
	everyone = "*"
	// nobody sees nothing: no organisation is called so.
	nobody = "-"
)

// Everyone is the Org of a pool whose statements see the rows of all organisations: that of an audit, a migration or a test.
func Everyone(context.Context) string { return everyone }

type ownWorkKey struct{}

// OwnWork returns a context in which statements see the rows of all organisations, also when a person has called. It is for what
// crosses organisations by its nature, like the plugins that everybody may run; the statement alone decides there what is shown.
func OwnWork(ctx context.Context) context.Context { return context.WithValue(ctx, ownWorkKey{}, true) }

// tenant returns the hook that tells a connection, when it is taken, whose rows it may see. It is told only what is new to it.
func tenant(org func(context.Context) string) func(context.Context, *pgx.Conn) (bool, error) {
	return func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		want := everyone
		if own, _ := ctx.Value(ownWorkKey{}).(bool); !own {
			if want = org(ctx); want == "" {
				want = nobody
			}
		}
		known := conn.PgConn().CustomData()
		if known[orgSetting] == want {
			return true, nil
		}
		delete(known, orgSetting)
		if res := conn.PgConn().ExecParams(ctx, "SELECT set_config('"+orgSetting+"', $1, false)", [][]byte{[]byte(want)}, nil, nil, nil).Read(); res.Err != nil {
			return false, fmt.Errorf("tell the connection whose rows it may see: %w", res.Err)
		}
		known[orgSetting] = want
		return true, nil
	}
}
