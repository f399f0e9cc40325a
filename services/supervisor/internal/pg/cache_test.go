package pg_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg/view"
)

// upload is one that an attempt has completed.
func (c *colony) upload(attempt uuid.UUID, bytes int64) uuid.UUID {
	c.t.Helper()
	u := &artifact.Upload{ID: uuid.Must(uuid.NewV7()), Attempt: attempt, Org: "o", Name: "n", Bytes: bytes, Files: 3, SHA256: "sum"}
	u.Key = "caches/o/" + u.ID.String()
	if err := c.store.BeginUpload(c.t.Context(), u); err != nil {
		c.t.Fatal(err)
	}
	if err := c.store.CompleteUpload(c.t.Context(), u); err != nil {
		c.t.Fatal(err)
	}
	return u.ID
}

// keep keeps bytes under a key.
func (c *colony) keep(attempt uuid.UUID, key string, bytes int64, age time.Duration) (id uuid.UUID, kept bool) {
	c.t.Helper()
	id = c.upload(attempt, bytes)
	kept, err := c.store.KeepCache(c.t.Context(), attempt, id, &cache.Cache{Key: key, RawBytes: 2 * bytes, RunMillis: 7}, age)
	if err != nil {
		c.t.Fatal(err)
	}
	return id, kept
}

// found is the key of what an attempt gets; empty: nothing.
func (c *colony) found(attempt uuid.UUID, key string, prefixes ...string) string {
	c.t.Helper()
	x, err := c.store.FindCache(c.t.Context(), attempt, key, prefixes)
	if err != nil {
		c.t.Fatal(err)
	}
	return cmp.Or(x, &cache.Cache{}).Key
}

func (c *colony) attempts(n int) []uuid.UUID {
	c.t.Helper()
	c.end(c.start(1), map[string]string{"hosts": hosts(n)})
	uids := make([]uuid.UUID, n)
	for i, p := range c.start(n) {
		uids[i] = p.UID
	}
	return uids
}

// A cache is found by its key, or else as the newest of the first beginning that there is, in its own organisation and job type.
func TestFindCache(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	uids := c.attempts(2)
	a := uids[0]
	id, kept := c.keep(a, "go-1", 10, time.Hour)
	if !kept {
		t.Fatal("it was not kept")
	}
	for _, key := range []string{"go-2", "go_x", "npm-1"} {
		c.keep(uids[1], key, 10, time.Hour)
	}
	c.exec(`UPDATE cache SET created_at = created_at + interval '1 second' WHERE key = 'go-2'`)
	for _, tt := range []struct {
		want, key string
		prefixes  []string
	}{
		{"go-1", "go-1", []string{"npm"}},
		{"", "go-", nil},
		{"", "go-3", nil},
		{"go-2", "go-3", []string{"go-"}},
		{"npm-1", "go-3", []string{"go-3", "npm-", "go-"}},
		{"", "go-3", []string{"%", "_"}},
		{"", "", nil},
	} {
		if got := c.found(a, tt.key, tt.prefixes...); got != tt.want {
			t.Errorf("%q %q: found %q, want %q", tt.key, tt.prefixes, got, tt.want)
		}
	}
	all, err := view.New(c.pool, nil).Caches(t.Context(), cache.Filter{Org: "o", KeyPrefix: "go-1", JobType: "job", Before: time.Now().Add(time.Hour), Limit: 10})
	if err != nil || len(all) != 1 || all[0].ID != id || all[0].Uses != 1 || all[0].Bytes != 10 || all[0].RawBytes != 20 || all[0].RunMillis != 7 || all[0].ExpiresAt.Sub(all[0].CreatedAt) != time.Hour {
		t.Errorf("%+v, %v", all, err)
	}
	if object, err := c.store.CacheObject(t.Context(), a, id); err != nil || object != "caches/o/"+id.String() {
		t.Errorf("%q, %v", object, err)
	}
	c.nobodyElseFinds(a, id)
}

// nobodyElseFinds looks for go-1 with another job type, and from another organisation, whose list and deletion do not reach it
// either.
func (c *colony) nobodyElseFinds(a, id uuid.UUID) {
	c.t.Helper()
	for _, other := range []string{`job_type = 'other'`, `job_type = 'job', org_id = 'p'`} {
		c.exec(`UPDATE execution SET ` + other)
		if got := c.found(a, "go-1", "go-"); got != "" {
			c.t.Errorf("%s finds %q", other, got)
		}
		if has, err := c.store.HasCache(c.t.Context(), a, "go-1"); err != nil || has {
			c.t.Errorf("%s has it: %v", other, err)
		}
		if _, err := c.store.CacheObject(c.t.Context(), a, id); errs.Reason(err) != "CACHE_NOT_FOUND" {
			c.t.Errorf("%s reads it: %v", other, err)
		}
	}
	if all, err := view.New(c.pool, nil).Caches(c.t.Context(), cache.Filter{Org: "p", Before: time.Now().Add(time.Hour), Limit: 10}); err != nil || len(all) != 0 {
		c.t.Errorf("listed: %+v, %v", all, err)
	}
	if _, err := c.store.DropCache(c.t.Context(), "p", id); errs.Reason(err) != "CACHE_NOT_FOUND" {
		c.t.Errorf("dropped: %v", err)
	}
	if _, kept := c.keep(a, "go-1", 1, time.Hour); !kept || c.found(a, "go-1") != "go-1" {
		c.t.Error("it cannot keep a key of the other one")
	}
}

// Of two writers the first counts, and the object of the other is swept; what is over makes room.
func TestACacheIsWrittenOnce(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	uids := c.attempts(2)
	first, _ := c.keep(uids[0], "k", 10, time.Hour)
	second, kept := c.keep(uids[1], "k", 20, time.Hour)
	if x, err := c.store.FindCache(t.Context(), uids[1], "k", nil); err != nil || kept || x.ID != first || x.Bytes != 10 {
		t.Fatalf("%+v, %v, the second was kept: %t", x, err, kept)
	}
	m, err := cache.NewManager(cache.DefaultConfig(), c.store, nil, nil, noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := m.Keep(t.Context(), uids[0], first, &cache.Cache{Key: "k"}, 0); err != nil || !kept {
		t.Errorf("asked again: %t, %v", kept, err)
	}
	c.end([]execution.Placed{{UID: uids[1]}}, nil)
	c.execAll(`UPDATE artifact_upload SET given_at = given_at - interval '2 hours'`, `UPDATE attempt SET ended_at = ended_at - interval '2 hours' WHERE ended_at IS NOT NULL`)
	if old, err := c.store.OldUploads(t.Context(), time.Hour, 0, 10); err != nil || len(old) != 1 || old[0].ID != second {
		t.Errorf("to be swept: %+v, %v", old, err)
	}
	c.exec(`UPDATE cache SET expires_at = now()`)
	if got := c.found(uids[0], "k", "k"); got != "" {
		t.Errorf("what is over is found")
	}
	if _, kept := c.keep(uids[0], "k", 30, time.Hour); !kept {
		t.Error("what is over is in the way")
	}
	if x, err := c.store.FindCache(t.Context(), uids[0], "k", nil); err != nil || x.Bytes != 30 {
		t.Errorf("%+v, %v", x, err)
	}
}

// An upload that is not complete, or of another attempt, is none.
func TestOnlyCompleteUploadsAreKept(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	uids := c.attempts(2)
	u := &artifact.Upload{ID: uuid.New(), Attempt: uids[0], Org: "o", Key: "x"}
	if err := c.store.BeginUpload(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	whole := c.upload(uids[0], 1)
	for attempt, upload := range map[uuid.UUID]uuid.UUID{uids[0]: u.ID, uids[1]: whole} {
		if kept, err := c.store.KeepCache(t.Context(), attempt, upload, &cache.Cache{Key: "k"}, time.Hour); err != nil || kept {
			t.Errorf("kept %t, %v", kept, err)
		}
	}
}

// Beyond the quota the least recently used go, of each organisation by itself; what is over goes anyway.
func TestDropCaches(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 1))
	a := c.attempts(1)[0]
	for i, key := range []string{"a", "b", "c", "d", "over"} {
		c.keep(a, key, 40, time.Hour)
		c.exec(fmt.Sprintf(`UPDATE cache SET used_at = now() - interval '10 minutes' + interval '%d seconds' WHERE key = '%s'`, i, key))
	}
	c.exec(`UPDATE cache SET expires_at = now() WHERE key = 'over'`)
	c.exec(`UPDATE execution SET org_id = 'p'`)
	c.keep(a, "of p", 90, time.Hour)
	c.exec(`UPDATE execution SET org_id = 'o'`)
	if c.found(a, "a") != "a" {
		t.Fatal("nothing found")
	}
	var gone []artifact.Upload
	for {
		some, err := c.store.DropCaches(t.Context(), 100, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		gone = append(gone, some...)
	}
	var left []string
	for _, org := range []string{"o", "p"} {
		all, err := view.New(c.pool, nil).Caches(t.Context(), cache.Filter{Org: org, Before: time.Now().Add(time.Hour), Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			left = append(left, x.Key)
		}
	}
	if slices.Sort(left); len(gone) != 3 || !slices.Equal(left, []string{"a", "d", "of p"}) {
		t.Errorf("left %q, gone %+v", left, gone)
	}
	c.exec(`UPDATE artifact_upload SET given_at = given_at - interval '2 hours'`)
	if old, err := c.store.OldUploads(t.Context(), time.Hour, 0, 10); err != nil || len(old) != 3 {
		t.Errorf("objects that would be left by a crash: %+v, %v", old, err)
	}
	if n, err := view.New(c.pool, nil).CacheBytes(t.Context(), "o"); err != nil || n != 80 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// What an attempt had of its cache is stored with its end and shown.
func TestCacheUseIsShown(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 1))
	a := c.attempts(1)[0]
	use := &execution.CacheUse{Outcome: "PARTIAL", Key: "k-2", FoundKey: "k-1", Bytes: 5, Local: true, SavedMillis: 9, StoredBytes: 6}
	end := execution.End{Ant: c.ant, Digest: []byte{1}, Cache: use, Outcome: engine.Outcome{State: engine.AttemptSucceeded}}
	if _, err := c.store.Step(t.Context(), []execution.Event{{Kind: execution.AttemptEnded, UID: a, End: end}}); err != nil {
		t.Fatal(err)
	}
	var raw string
	if err := c.pool.QueryRow(t.Context(), `SELECT cache FROM attempt WHERE uid = $1`, a).Scan(&raw); err != nil {
		t.Fatal(err)
	}
	if want := `{"outcome":"PARTIAL","key":"k-2","found_key":"k-1","bytes":5,"local":true,"saved_millis":9,"stored_bytes":6}`; raw != want {
		t.Errorf("stored %s", raw)
	}
}

// However many caches there are, those of other job types are not looked at.
func TestFindCacheReadsItsOwn(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 1))
	a := c.attempts(1)[0]
	c.execAll(`INSERT INTO cache (id, org_id, job_type, key, request_id, task, object, bytes, raw_bytes, files, sha256, run_millis, created_at, expires_at, used_at)
		SELECT gen_random_uuid(), 'o', 'job' || g % 200, 'k-' || g, gen_random_uuid(), 't', 'x', 1, 1, 1, '', 0, now(), now() + interval '1 day', now() FROM generate_series(1, 10000) g`, `ANALYZE cache`)
	c.keep(a, "k-mine", 1, time.Hour)
	touched := func() (blocks int) {
		t.Helper()
		c.pool.Reset() // its connections tell what they touched when they end
		c.exec(`SELECT pg_stat_force_next_flush()`)
		if err := c.pool.QueryRow(context.WithoutCancel(t.Context()), `SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'cache'`).Scan(&blocks); err != nil {
			t.Fatal(err)
		}
		return blocks
	}
	begin := touched()
	if got := c.found(a, "no", "no", "k-"); got != "k-mine" {
		t.Errorf("found %q", got)
	}
	if blocks := touched() - begin; blocks > 100 {
		t.Errorf("%d blocks are touched", blocks)
	}
}
