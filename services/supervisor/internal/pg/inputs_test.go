package pg_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// past is a task, or an item of the task `work`, in a run of a request, with its attempts; some of them have kept files.
type past struct {
	run      int
	name     string
	attempts int
	kept     []int // the attempts that kept files
	state    string
	reuse    bool // it was kept from the run before
	child    int  // the number of a request that it forked
}

// record writes tasks of a request into the record; it returns the execution of the last run.
func (c *colony) record(requests map[int]uuid.UUID, request int, all []past) (last uuid.UUID) {
	c.t.Helper()
	runs, next := map[int]uuid.UUID{}, map[int]int{}
	for _, p := range all {
		if _, ok := runs[p.run]; !ok {
			last = uuid.New()
			runs[p.run] = last
			c.exec(`INSERT INTO execution SELECT (jsonb_populate_record(e, jsonb_build_object('id', $2::uuid, 'request_id', $3::uuid, 'run', $4::int))).*
				FROM execution e WHERE e.id = $1`, c.run.ID, last, requests[request], p.run)
		}
		idx, group := next[p.run], any(nil)
		next[p.run]++
		var items, of any
		switch {
		case strings.HasSuffix(p.name, "]"):
			group, of = 0, "work" // which comes first
		case p.name == "work" && !p.reuse:
			n := 0
			for _, i := range all {
				if i.run == p.run && strings.HasSuffix(i.name, "]") {
					n++
				}
			}
			items = fmt.Sprintf(`{"first": 1, "total": %d}`, n)
		}
		state := "COMPLETED"
		if p.state != "" {
			state = p.state
		}
		c.exec(`INSERT INTO task (execution_id, idx, name, method, class, state, spec, attempts, reuse, group_idx, items) VALUES ($1, $2, $3, 'SHELL', 'c', $4, '{}', $5, $6, $7, $8)`,
			runs[p.run], idx, p.name, state, p.attempts, p.reuse, group, items)
		if p.child > 0 {
			c.exec(`INSERT INTO child (execution_id, task_idx, round, state, request_id, due_at, heard_at, created_at) VALUES ($1, $2, 1, 'ENDED', $3, now(), now(), now())`,
				runs[p.run], idx, requests[p.child])
		}
		for n := 1; n <= p.attempts; n++ {
			c.exec(`WITH a AS (INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, lease_until, dispatched_at)
					VALUES (gen_random_uuid(), $1, $2, $3, 'SUCCEEDED', 'a', gen_random_uuid(), now(), now()) RETURNING uid)
				INSERT INTO artifact (id, org_id, kind, request_id, run, task, group_task, attempt_uid, attempt, number, name, key, bytes, files, sha256, created_at, expires_at)
				SELECT gen_random_uuid(), 'o', 'TASK', $4, $5, $6, coalesce($7, ''), uid, $3, 1, $8, 'k', 1, 1, 's', now(), now() FROM a WHERE $9`,
				runs[p.run], idx, n, requests[request], p.run, p.name, of, fmt.Sprintf("%s %d/%d", p.name, p.run, n), slices.Contains(p.kept, n))
		}
	}
	return last
}

// What a task gets of one that it depends on are the files of the last attempt, in the run from which that one was kept, or in
// this one; of a fan-out that holds for each item, of a forked job for each task of it. What was to be made again and was not
// is not taken from before.
func TestWhichFilesATaskGets(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 1))
	first := []int{1}
	for name, tt := range map[string]struct {
		on   string
		own  []past
		fork []past // of request 2
		want string
	}{
		"the last attempt":                  {"build", []past{{run: 1, name: "build", attempts: 3, kept: []int{1, 2, 3}}}, nil, "build 1/3"},
		"the last attempt kept nothing":     {"build", []past{{run: 1, name: "build", attempts: 2, kept: first}}, nil, ""},
		"kept from an earlier run":          {"build", []past{{run: 1, name: "build", attempts: 1, kept: first}, {run: 2, name: "build", reuse: true}}, nil, "build 1/1"},
		"kept over two runs":                {"build", []past{{run: 1, name: "build", attempts: 2, kept: []int{1, 2}}, {run: 2, name: "build", reuse: true}, {run: 3, name: "build", reuse: true}}, nil, "build 1/2"},
		"executed again":                    {"build", []past{{run: 1, name: "build", attempts: 2, kept: []int{1, 2}}, {run: 2, name: "build", attempts: 1, kept: first}}, nil, "build 2/1"},
		"executed again, kept nothing":      {"build", []past{{run: 1, name: "build", attempts: 1, kept: first}, {run: 2, name: "build", attempts: 1}}, nil, ""},
		"executed between, kept nothing":    {"build", []past{{run: 1, name: "build", attempts: 1, kept: first}, {run: 2, name: "build", attempts: 1}, {run: 3, name: "build", reuse: true}}, nil, ""},
		"not executed again yet":            {"build", []past{{run: 1, name: "build", attempts: 1, kept: first}, {run: 2, name: "build", state: "PENDING"}}, nil, ""},
		"not executed again, skipped":       {"build", []past{{run: 1, name: "build", attempts: 1, kept: first}, {run: 2, name: "build", state: "SKIPPED"}}, nil, ""},
		"another task":                      {"test", []past{{run: 1, name: "build", attempts: 1, kept: first}, {run: 1, name: "test"}}, nil, ""},
		"each item by its own attempts":     {"work", []past{{run: 1, name: "work"}, {run: 1, name: "work[0]", attempts: 1, kept: first}, {run: 1, name: "work[1]", attempts: 2, kept: []int{1, 2}}}, nil, "work[0] 1/1, work[1] 1/2"},
		"items that were kept, and not":     {"work", []past{{run: 1, name: "work"}, {run: 1, name: "work[0]", attempts: 1, kept: first}, {run: 1, name: "work[1]", attempts: 1, kept: first}, {run: 2, name: "work"}, {run: 2, name: "work[0]"}, {run: 2, name: "work[1]", attempts: 1, kept: first}}, nil, "work[0] 1/1, work[1] 2/1"},
		"an item that is not there again":   {"work", []past{{run: 1, name: "work"}, {run: 1, name: "work[0]", attempts: 1, kept: first}, {run: 1, name: "work[1]", attempts: 1, kept: first}, {run: 2, name: "work"}, {run: 2, name: "work[0]"}}, nil, "work[0] 1/1"},
		"an item that was skipped":          {"work", []past{{run: 1, name: "work"}, {run: 1, name: "work[0]", attempts: 1, kept: first}, {run: 2, name: "work"}, {run: 2, name: "work[0]", state: "SKIPPED"}}, nil, ""},
		"a fan-out that was kept":           {"work", []past{{run: 1, name: "work"}, {run: 1, name: "work[0]", attempts: 1, kept: first}, {run: 1, name: "work[1]", attempts: 1, kept: first}, {run: 2, name: "work", reuse: true}}, nil, "work[0] 1/1, work[1] 1/1"},
		"a forked job":                      {"fork", []past{{run: 1, name: "fork", child: 2}}, []past{{run: 1, name: "a", attempts: 2, kept: []int{1, 2}}, {run: 1, name: "b", attempts: 1, kept: first}, {run: 1, name: "c", attempts: 2, kept: first}}, "a 1/2, b 1/1"},
		"a forked job that was restarted":   {"fork", []past{{run: 1, name: "fork", child: 2}}, []past{{run: 1, name: "a", attempts: 1, kept: first}, {run: 1, name: "b", attempts: 1, kept: first}, {run: 2, name: "a", reuse: true}, {run: 2, name: "b", attempts: 1}}, "a 1/1"},
		"a job of a fork that was kept":     {"fork", []past{{run: 1, name: "fork", child: 2}, {run: 2, name: "fork", reuse: true}}, []past{{run: 1, name: "a", attempts: 1, kept: first}}, "a 1/1"},
		"a job of a fork that forked again": {"fork", []past{{run: 1, name: "fork", child: 2}, {run: 2, name: "fork"}}, []past{{run: 1, name: "a", attempts: 1, kept: first}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			requests := map[int]uuid.UUID{1: uuid.New(), 2: uuid.New()}
			c.record(requests, 2, tt.fork)
			run := c.record(requests, 1, tt.own)
			found, err := c.store.Inputs(t.Context(), uuid.New(), run, "o", []string{tt.on}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range found {
				got = append(got, i.Name)
			}
			if got := strings.Join(got, ", "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An artifact that outputs tell of and that is not there any more is gone, of a task that was kept as well.
func TestAnInputThatIsGone(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 1))
	request := map[int]uuid.UUID{1: uuid.New()}
	run := c.record(request, 1, []past{{run: 1, name: "build", attempts: 1, kept: []int{1}}, {run: 2, name: "build", reuse: true}})
	inputs := func(want bool) {
		t.Helper()
		found, err := c.store.Inputs(t.Context(), uuid.New(), run, "o", []string{"build"}, nil)
		if err != nil || len(found) != 1 || found[0].Gone != want || found[0].Task != "build" {
			t.Errorf("%+v, %v", found, err)
		}
	}
	c.exec(`UPDATE task SET outputs = (SELECT json_build_object('build_ArtifactURL_1', 'http://h/api/v1/artifacts/' || a.id || '/download', 'x_ArtifactURL_1', 'no address')
		FROM artifact a WHERE a.request_id = $1) WHERE name = 'build' AND execution_id IN (SELECT id FROM execution WHERE request_id = $1)`, request[1])
	inputs(false)
	c.exec(`DELETE FROM artifact WHERE request_id = $1`, request[1])
	inputs(true)
}

// An attempt may read what its claim has named, and nothing else: neither other artifacts of its organisation, nor what another
// attempt got, nor what an earlier claim named.
func TestAnAttemptReadsItsInputs(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	uids := c.attempts(2)
	run := c.record(map[int]uuid.UUID{1: uuid.New()}, 1, []past{
		{run: 1, name: "a", attempts: 1, kept: []int{1}}, {run: 1, name: "b", attempts: 1, kept: []int{1}}, {run: 1, name: "c", attempts: 1, kept: []int{1}},
	})
	ids := map[string]uuid.UUID{}
	for _, task := range []string{"a", "b", "c"} {
		found, err := c.store.Inputs(t.Context(), uuid.New(), run, "o", []string{task}, nil)
		if err != nil || len(found) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		ids[task] = found[0].ID
	}
	all := []uuid.UUID{ids["a"], ids["b"], ids["c"]}
	reads := func(attempt uuid.UUID, want ...string) {
		t.Helper()
		keys, err := c.store.InputKeys(t.Context(), attempt, all)
		if err != nil || len(keys) != len(want) {
			t.Errorf("%d of %q: %v", len(keys), want, err)
		}
		for _, task := range want {
			if keys[ids[task]] != "k" {
				t.Errorf("%s is not among them", task)
			}
		}
	}
	reads(uids[0])
	if found, err := c.store.Inputs(t.Context(), uids[0], run, "o", []string{"a"}, []uuid.UUID{ids["c"]}); err != nil || len(found) != 2 || found[1].ID != ids["c"] {
		t.Fatalf("%+v, %v", found, err)
	}
	reads(uids[0], "a", "c")
	reads(uids[1])
	if found, err := c.store.Inputs(t.Context(), uids[0], run, "p", nil, []uuid.UUID{ids["c"]}); err != nil || len(found) != 0 {
		t.Errorf("of another organisation: %+v, %v", found, err)
	}
	reads(uids[0])
	if _, err := c.store.Inputs(t.Context(), uids[0], run, "o", []string{"b"}, nil); err != nil {
		t.Fatal(err)
	}
	reads(uids[0], "b")
}
