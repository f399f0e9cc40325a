package pg

import (
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestOnlyCertainFailuresGiveSlotsBack: a connection that the server ended may have committed before.
func TestOnlyCertainFailuresGiveSlotsBack(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"refused statement":  {&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "23505"}, true},
		"ended by the admin": {&pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "57P01"}, false},
		"cut connection":     {io.ErrUnexpectedEOF, false},
	} {
		if got := (&Store{}).Undone(fmt.Errorf("wrapped: %w", tt.err)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
