package pg_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/people"
	"github.com/formicary/formicary/services/api-gateway/internal/pg"
	"github.com/formicary/formicary/services/api-gateway/migrations"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is identity and login on a database of its own. Its people forget nothing by themselves: they are another replica.
type world struct {
	t      *testing.T
	pool   *pgxpool.Pool
	store  *pg.Store
	users  *identity.Manager
	logins *login.Manager
	people *people.People
	clock  *clock
}

const (
	secret = "correct horse battery"
	home   = "203.0.113.7"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Now().UTC().Truncate(time.Second)}}
	w.pool = testkit.Pool(t, "identity", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgdb.Migrate(ctx, pool, "identity", migrations.FS)
	})
	w.store = pg.New(w.pool)
	w.people = people.New(pg.Credentials{Store: w.store}, w.clock.now)
	conf := login.DefaultConfig()
	conf.Passwords, conf.HashMemory = true, 64 // KiB: what it costs is password_test.go's
	w.users = identity.NewManager(w.store, w.clock.now, func() {})
	w.logins = login.NewManager(conf, w.store, w.users, w.clock.now, func() {})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// user makes a user with a password who is a member of the default org.
func (w *world) user(name, role string) {
	w.t.Helper()
	_, err := w.users.CreateUser(w.t.Context(), identity.User{Name: name}, identity.DefaultOrg, role, "test")
	w.must(err)
	w.must(w.logins.SetPassword(w.t.Context(), name, "", secret, false, home))
}

// login returns the secret of a new session.
func (w *world) login(name string) string {
	w.t.Helper()
	s, _, err := w.logins.Password(w.t.Context(), name, secret, login.From{Address: home, Kind: login.Browser})
	w.must(err)
	return s
}
