package auditpg_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
	"github.com/formicary/formicary/services/api-gateway/internal/auditpg"
	"github.com/formicary/formicary/services/api-gateway/migrations"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a log on a database of its own.
type world struct {
	t     *testing.T
	pool  *pgxpool.Pool
	store *auditpg.Store
	log   *auditlog.Log
}

func newWorld(t *testing.T, signer pki.Name) *world {
	t.Helper()
	pool := testkit.Pool(t, "identity", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgdb.Migrate(ctx, pool, "identity", migrations.FS)
	})
	w := &world{t: t, pool: pool, store: auditpg.New(pool)}
	id, err := passporttest.Authority().Issue(signer, time.Hour)
	w.must(err)
	w.log, err = auditlog.New(auditlog.Options{Store: w.store, Rules: access.Rules{}, Identity: pki.Fixed(id), Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{}})
	w.must(err)
	return w
}

func gateway() pki.Name { return pki.Name{Kind: pki.Service, ID: "api-gateway"} }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// exec is what the owner of the tables does by hand: it gives back to itself what was taken from it, and triggers do not hold it
// up.
func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	conn, err := w.pool.Acquire(w.t.Context())
	w.must(err)
	defer conn.Release()
	_, err = conn.Exec(w.t.Context(), "GRANT ALL ON audit_event, audit_checkpoint TO CURRENT_USER; SET session_replication_role = replica")
	w.must(err)
	_, err = conn.Exec(w.t.Context(), sql, args...)
	w.must(err)
	_, err = conn.Exec(w.t.Context(), "RESET session_replication_role")
	w.must(err)
}

func ended(n int, stored bool) []auditlog.Ended {
	var all []auditlog.Ended
	for i := range n {
		all = append(all, auditlog.Ended{Stored: stored, Event: &auditlog.Event{
			ID: uuid.Must(uuid.NewV7()), At: time.Now(), Org: "default", Actor: fmt.Sprint("user", i), Method: "formicary.job.v1.JobRequestService/SubmitJob",
			ObjectKind: "job_request", ObjectID: "x", AfterDigest: []byte{byte(i)}, Outcome: auditlog.OK, Took: time.Duration(i) * time.Millisecond,
		}})
	}
	return all
}

// write seals n events.
func (w *world) write(n int) auditlog.Head {
	w.t.Helper()
	head, err := w.store.Seal(w.t.Context(), ended(n, false))
	w.must(err)
	return head
}

// verify returns the end and the faults, as "kind seq".
func (w *world) verify(known auditlog.Head) (p auditlog.Progress, faults string) {
	w.t.Helper()
	var all []string
	w.must(w.log.Verify(w.t.Context(), known, passporttest.Authority().Roots(), func(now auditlog.Progress) error {
		for _, f := range now.Faults {
			all = append(all, fmt.Sprintf("%s %d", f.Kind, f.Seq))
		}
		p = now
		return nil
	}))
	return p, strings.Join(all, ", ")
}

// TestTampering: whatever the owner of the database does to the log by hand is found, and said where.
func TestTampering(t *testing.T) {
	all := newWorld(t, gateway())
	// forge gives an event a new hash, as somebody would who knows how they are made.
	forge := func(w *world, seq int64, change func(*auditlog.Event)) {
		w.t.Helper()
		events, err := w.store.Page(w.t.Context(), seq-1, 1)
		w.must(err)
		e := events[0]
		change(e)
		w.exec("UPDATE audit_event SET actor = $2, prev_hash = $3, hash = $4 WHERE seq = $1", seq, e.Actor, e.PrevHash, e.Sum())
	}
	for _, c := range []struct {
		name   string
		known  bool // an end of the chain is known from elsewhere
		tamper func(w *world)
		want   string
	}{
		{"nothing", true, func(*world) {}, ""},
		{"a changed row", false, func(w *world) { w.exec("UPDATE audit_event SET actor = 'nobody' WHERE seq = 5") }, "changed 5"},
		{"a changed time", false, func(w *world) { w.exec("UPDATE audit_event SET at = at + interval '1 microsecond' WHERE seq = 1") }, "changed 1"},
		{"a changed outcome", false, func(w *world) { w.exec("UPDATE audit_event SET outcome = 'FAILED' WHERE seq = 12") }, "changed 12"},
		{"a changed row with its hash", false, func(w *world) { forge(w, 5, func(e *auditlog.Event) { e.Actor = "nobody" }) }, "broken 6"},
		{"the last row with its hash", false, func(w *world) { forge(w, 12, func(e *auditlog.Event) { e.Actor = "nobody" }) }, "head 12"},
		{"a removed row", false, func(w *world) { w.exec("DELETE FROM audit_event WHERE seq BETWEEN 5 AND 6") }, "removed 5"},
		{"the first row", false, func(w *world) { w.exec("DELETE FROM audit_event WHERE seq = 1") }, "removed 1"},
		{"two rows exchanged", false, func(w *world) {
			w.exec("UPDATE audit_event SET seq = CASE seq WHEN 5 THEN -6 ELSE -5 END WHERE seq IN (5, 6)")
			w.exec("UPDATE audit_event SET seq = -seq WHERE seq < 0")
		}, "broken 5, changed 5, broken 6, changed 6, broken 7"},
		{"an added row", false, func(w *world) {
			w.exec("INSERT INTO audit_event SELECT 13, gen_random_uuid(), at, org_id, 'x', actor_kind, credential, method, permission, object_kind, object_id, request_digest, before_digest, after_digest, address, request_id, agent, outcome, code, reason, took_us, hash, hash FROM audit_event WHERE seq = 12")
		}, "changed 13, broken 13"},
		{"the end is cut", false, func(w *world) { w.exec("DELETE FROM audit_event WHERE seq > 11") }, "cut 12"},
		{"the end is cut and the head with it", true, func(w *world) {
			w.exec("DELETE FROM audit_event WHERE seq > 11")
			w.exec("UPDATE audit_head SET seq = 11, hash = (SELECT hash FROM audit_event WHERE seq = 11)")
		}, "cut 12"},
		{"the signed end is cut and the head with it", false, func(w *world) {
			w.exec("DELETE FROM audit_event WHERE seq > 9")
			w.exec("UPDATE audit_head SET seq = 9, hash = (SELECT hash FROM audit_event WHERE seq = 9)")
		}, "removed 10"},
		{"all is written anew", false, func(w *world) { w.rewrite() }, "changed 10"},
		{"all is written anew without the signatures", true, func(w *world) {
			w.rewrite()
			w.exec("DELETE FROM audit_checkpoint")
		}, "head 12"},
		{"a forged signature", false, func(w *world) {
			w.exec("UPDATE audit_checkpoint SET signature = set_byte(signature, 0, 255 - get_byte(signature, 0))")
		}, "signature 10"},
		{"a signature moved in time", false, func(w *world) { w.exec("UPDATE audit_checkpoint SET at = at + interval '1 second'") }, "signature 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t, pool: all.pool, store: all.store, log: all.log}
			w.exec("DELETE FROM audit_checkpoint")
			w.clear()
			w.write(10)
			w.sign()
			known := w.write(2)
			if !c.known {
				known = auditlog.Head{}
			}
			c.tamper(w)
			p, faults := w.verify(known)
			if faults != c.want {
				t.Errorf("found %q, want %q", faults, c.want)
			}
			if c.want == "" && (p.Head.String() != known.String() || p.Checked != 12 || p.Signed != 10) {
				t.Error(p)
			}
		})
	}
}

// sign makes a checkpoint of the end as it is now.
func (w *world) sign() {
	w.t.Helper()
	head, err := w.store.Head(w.t.Context())
	w.must(err)
	w.must(w.log.Sign(w.t.Context(), head))
}

// rewrite makes a chain of the same length anew.
func (w *world) rewrite() {
	w.t.Helper()
	w.clear()
	w.write(12)
}

// clear empties the log.
func (w *world) clear() {
	w.t.Helper()
	w.exec("DELETE FROM audit_event")
	w.exec("UPDATE audit_head SET seq = 0, hash = decode(repeat('00', 32), 'hex')")
}

// TestOthersCannotSign: only a gateway's certificate counts.
func TestOthersCannotSign(t *testing.T) {
	w := newWorld(t, pki.Name{Kind: pki.Service, ID: "job-manager"})
	w.write(1)
	w.sign()
	if _, faults := w.verify(auditlog.Head{}); faults != "signature 1" {
		t.Error(faults)
	}
}

// TestTheLogIsOnlyAddedTo: the service itself cannot change it.
func TestTheLogIsOnlyAddedTo(t *testing.T) {
	w := newWorld(t, gateway())
	w.write(1)
	w.sign()
	for _, sql := range []string{
		"UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event", "TRUNCATE audit_event", "UPDATE audit_checkpoint SET seq = 2", "DELETE FROM audit_checkpoint",
		"TRUNCATE audit_checkpoint",
	} {
		if _, err := w.pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "only added to") && !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// TestEachEventOnce: sealed twice, by several gateways at once, or abandoned meanwhile, an event is in the chain once.
func TestEachEventOnce(t *testing.T) {
	w := newWorld(t, gateway())
	ctx := t.Context()
	var intents []auditlog.Intent
	stored, others := ended(100, true), ended(50, false)
	for _, e := range stored {
		intents = append(intents, auditlog.Intent{ID: e.Event.ID, Body: []byte(`{"actor":"lost","method":"m"}`)})
	}
	w.must(w.store.Begin(ctx, intents))
	w.must(w.store.Begin(ctx, intents[:10])) // an answer that was lost
	var g errgroup.Group
	for range 3 {
		g.Go(func() error { _, err := w.store.Seal(ctx, append(stored[:90:90], others...)); return err })
	}
	w.must(g.Wait())
	w.must(w.log.SealAbandoned(ctx, time.Hour)) // those that are young stay
	if p, _ := w.verify(auditlog.Head{}); p.Checked != 140 {
		t.Errorf("%d events", p.Checked)
	}
	w.must(w.log.SealAbandoned(ctx, 0))
	_, err := w.store.Seal(ctx, stored) // its gateway lives after all
	w.must(err)
	p, faults := w.verify(auditlog.Head{})
	if p.Checked != 150 || faults != "" {
		t.Errorf("%d events, faults %q", p.Checked, faults)
	}
	lost, err := w.store.List(ctx, auditlog.Filter{Outcome: auditlog.Unknown, Actor: "lost", Limit: 100})
	if err != nil || len(lost) != 10 {
		t.Error(len(lost), err)
	}
}
