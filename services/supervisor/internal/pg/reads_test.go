package pg_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step/steptest"
)

// fill puts completed tasks into the run as if they had run: name and size of the output of each are SQL over g.
func (c *colony) fill(n int, name, size string) {
	c.t.Helper()
	for _, sql := range []string{
		`INSERT INTO task (execution_id, idx, name, method, class, state, spec, attempts, started_at, ended_at, ready_at, result, outputs)
			SELECT '` + c.run.ID.String() + `', 1000 + g, 't' || g, 'SHELL', 'c', 'COMPLETED', '{}', 1, now(), now() + g * interval '1 microsecond', now(),
				repeat('r', 4096), json_build_object(` + name + `, repeat(chr(97 + g % 26), ` + size + `)) FROM generate_series(1, ` + fmt.Sprint(n) + `) g`,
		`UPDATE execution SET tasks_planned = 30000`, `ANALYZE task`, `ANALYZE output`,
	} {
		if _, err := c.pool.Exec(c.t.Context(), sql); err != nil {
			c.t.Fatal(err)
		}
	}
}

// measured returns how long f takes, best of a few, and what it allocates.
func measured(t *testing.T, f func() error) (time.Duration, uint64) {
	t.Helper()
	best, least := time.Hour, uint64(1<<62)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return best, least
}

const using = `job_type: job
job_variables: {who: nobody}
tasks:
- task_type: first
  method: SHELL
  script: [first]
  on_completed: last
- task_type: last
  method: SHELL
  script:
    - 'echo {{.sum}} {{.who}} {{index . "t7-status"}}'
`

// A claim beside thousands of completed tasks reads what its task uses, and of the rest what fits into an environment.
func TestAClaimReadsWhatItsTaskUses(t *testing.T) {
	for what, tt := range map[string]struct {
		name string // of the outputs
		most int    // bytes of outputs that are read
	}{
		"names of no variable":   {`'k-' || g`, 100},
		"one name for all":       {`'same'`, 5 << 10},
		"a name for each":        {`'k' || g`, 1<<20 + 5<<10},
		"a name that it uses":    {`'sum'`, 5 << 10},
		"a name of the variable": {`'who'`, 5 << 10},
	} {
		t.Run(what, func(t *testing.T) {
			var took [2]time.Duration
			for i, n := range []int{10, 10_000} {
				c := newColony(t, using)
				c.end(c.start(1), map[string]string{"sum": "3"})
				c.fill(n, tt.name, "4096")
				placed := c.start(1)
				var x *execution.Claimed
				d, bytes := measured(t, func() error {
					found, err := c.store.Claim(t.Context(), []execution.Claim{{UID: placed[0].UID, Ant: c.ant, Session: c.sess}})
					x = found[placed[0].UID]
					return err
				})
				size := 0
				for k, v := range x.Job.Outputs {
					size += len(k) + len(v)
				}
				took[i] = d
				t.Logf("beside %d tasks: %s, %d KiB of outputs, %d KiB allocated", n, d.Round(10*time.Microsecond), size>>10, bytes>>10)
				if size > tt.most {
					t.Errorf("%d bytes of outputs are read, want at most %d", size, tt.most)
				}
				if lacks := x.Job.LeftOut > 0; lacks != (n == 10_000 && what == "a name for each") {
					t.Errorf("%d outputs are told to be left out", x.Job.LeftOut)
				}
				if want := "3"; x.Job.Outputs["sum"] != want && tt.name != `'sum'` {
					t.Errorf("sum is %q", x.Job.Outputs["sum"])
				}
				if got := x.Job.Outputs["t7-status"]; got != "COMPLETED" {
					t.Errorf("status is %q", got)
				}
			}
		})
	}
}

// What a process gets as environment is what it would get if the claim had read every output: the newest of a name, and
// the shortest when not all fit.
func TestTheEnvironmentIsThatOfAllOutputs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- a test
	for round := range 4 {
		c := newColony(t, using)
		c.end(c.start(1), map[string]string{"sum": "3"})
		all := map[string]string{"sum": "3"}
		at := time.Now().Add(time.Hour)
		var idx []int32
		var outputs []string
		var ends []time.Time
		for i := range 400 {
			name := fmt.Sprintf("v%d", r.IntN(300))
			switch r.IntN(20) {
			case 0:
				name = "no-name" + name
			case 1:
				name = "who"
			case 2:
				if round < 2 { // reserved names, which no process gets, take a place among what is too much
					name = "LD_" + name
				}
			}
			size := r.IntN(3000 * (round + 1))
			if r.IntN(40) == 0 {
				size = 70_000 // longer than a variable of an environment
			}
			value := strings.Repeat(string(rune('a'+r.IntN(26))), size)
			end := at.Add(time.Duration(i) * time.Second)
			all[name] = value
			idx, outputs, ends = append(idx, int32(2000-i)), append(outputs, fmt.Sprintf(`{%q: %q}`, name, value)), append(ends, end)
		}
		perm := r.Perm(len(idx)) // whatever is written first
		for i, p := range perm {
			idx[i], idx[p] = idx[p], idx[i]
			outputs[i], outputs[p] = outputs[p], outputs[i]
			ends[i], ends[p] = ends[p], ends[i]
		}
		_, err := c.pool.Exec(t.Context(), `INSERT INTO task (execution_id, idx, name, method, class, state, spec, attempts, started_at, ended_at, ready_at, outputs)
			SELECT $1, i, 't' || i, 'SHELL', 'c', 'COMPLETED', '{}', 1, now(), e, now(), o::json FROM unnest($2::int[], $3::text[], $4::timestamptz[]) u (i, o, e)`,
			c.run.ID, idx, outputs, ends)
		if err != nil {
			t.Fatal(err)
		}
		placed := c.start(1)
		found, err := c.store.Claim(t.Context(), []execution.Claim{{UID: placed[0].UID, Ant: c.ant, Session: c.sess}})
		if err != nil {
			t.Fatal(err)
		}
		x := found[placed[0].UID]
		env := func(outputs map[string]string) map[string]string {
			job := *x.Job
			job.Outputs = outputs
			vars, err := definition.Variables(&job, "last", 0)
			if err != nil {
				t.Fatal(err)
			}
			return environ.Of(x.Task, vars).Vars
		}
		got, want := env(x.Job.Outputs), env(all)
		if !maps.Equal(got, want) {
			t.Errorf("round %d: %d variables, want %d", round, len(got), len(want))
			for _, k := range slices.Sorted(maps.Keys(want)) {
				if got[k] != want[k] {
					t.Logf("%s has %d bytes, want %d", k, len(got[k]), len(want[k]))
				}
			}
		}
	}
}

const deciding = `job_type: job
tasks:
- task_type: first
  method: SHELL
  script: [first]
  on_completed: last
- task_type: last
  method: SHELL
  script: [last]
  when: '%s'
- {task_type: t7, method: SHELL, script: [x]}
- {task_type: t9, method: SHELL, script: [x]}
- {task_type: none, method: SHELL, script: [x]}
`

// A decision reads what its condition asks for.
func TestADecisionReadsWhatItAsksFor(t *testing.T) {
	for when, want := range map[string]string{
		`tasks.t7.state == "COMPLETED" && tasks.t7.result.startsWith("rr")`:                    "READY",
		`tasks.t7.outputs["k-7"].startsWith("h") && !has(tasks.t7.outputs.other)`:              "READY",
		`tasks.first.outputs.sum == "3" && vars.sum == "3"`:                                    "READY",
		`vars["k-9"].startsWith("j") && size(tasks.t9.outputs) == 1 && !has(tasks.none)`:       "READY",
		`tasks[vars.name].exit_code == 0 && tasks.all(n, tasks[n].state in ["COMPLETED", ""])`: "READY",

		`tasks.t7.state == "FAILED"`: "SKIPPED",
	} {
		t.Run(when, func(t *testing.T) {
			for _, n := range []int{10, 10_000} {
				if strings.Contains(when, "all(") && n > 10 {
					continue // it reads all of them
				}
				c := newColony(t, fmt.Sprintf(deciding, when))
				c.fill(n, `'k-' || g`, "4096")
				placed := c.start(10)
				placed = placed[slices.IndexFunc(placed, func(p execution.Placed) bool { return p.Idx == 0 }):][:1]
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				began := time.Now()
				c.end(placed, map[string]string{"sum": "3", "name": "t5"})
				took := time.Since(began)
				runtime.ReadMemStats(&after)
				t.Logf("beside %d tasks: %s, %d KiB allocated", n, took.Round(10*time.Microsecond), (after.TotalAlloc-before.TotalAlloc)>>10)
				if after.TotalAlloc-before.TotalAlloc > 16<<20 {
					t.Errorf("%d MiB are allocated", (after.TotalAlloc-before.TotalAlloc)>>20)
				}
				var state, message string
				if err := c.pool.QueryRow(t.Context(), `SELECT state, message FROM task WHERE name = 'last'`).Scan(&state, &message); err != nil || state != want {
					t.Errorf("last is %s: %s %v", state, message, err)
				}
			}
		})
	}
}

// The outputs of a child that are too much are left out, the largest first, whatever its tasks gave before.
func TestOutputsOfARunAreBounded(t *testing.T) {
	c := newColony(t, using)
	c.end(c.start(1), map[string]string{"sum": "3", "large": strings.Repeat("x", 60<<10)})
	c.fill(1000, `'k' || g % 10`, "4096")
	all, err := c.store.Outputs(t.Context(), []execution.Key{c.run.Key, {Request: uuid.New(), Run: 1}})
	if err != nil {
		t.Fatal(err)
	}
	got := all[c.run.Key]
	if len(got) != 11 || got["sum"] != "3" || got["large"] != "" || got["k3"] != strings.Repeat(string(rune('a'+993%26)), 4096) {
		t.Errorf("%v", slices.Sorted(maps.Keys(got)))
	}
}

// A section that is rendered again may look at what the plan did not.
func TestOutputsAreFoundByName(t *testing.T) {
	c := newColony(t, using)
	c.end(c.start(1), map[string]string{"sum": "3", "k": "v"})
	for want, names := range map[string][]string{
		"map[k:v]":                    {"k", "none"},
		"map[first-status:COMPLETED]": {"first-status", "last-status"},
		"map[k:v sum:3]":              {template.UsesAll},
		"map[]":                       nil,
	} {
		got, err := c.store.OutputsOf(context.WithoutCancel(t.Context()), c.run.ID, names)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%v: %v, %v, want %s", names, got, err, want)
		}
	}
}

// What the claims of one call read together is bounded: those that find no room ask again. HTTP tasks read none of it.
func TestLongOutputsOfACallAreBounded(t *testing.T) {
	c := newColony(t, "job_type: job\ntasks:\n- {task_type: work, method: SHELL, script: [x]}\n- {task_type: get, method: HTTP_GET, url: 'http://x'}\n")
	for range 7 {
		r := steptest.NewRun(t, "job_type: job\ntasks:\n- {task_type: work, method: SHELL, script: [x]}\n", 1)
		if _, err := c.store.Launch(t.Context(), []*execution.NewRun{r}, time.Time{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{
		`INSERT INTO task (execution_id, idx, name, method, class, state, spec, attempts, started_at, ended_at, ready_at, outputs)
			SELECT id, 1000 + g, 't' || g, 'SHELL', 'c', 'COMPLETED', '{}', 1, now(), now(), now(), json_build_object('OUT_' || g, repeat('a', 1000000))
			FROM execution, generate_series(1, 8) g`,
		`UPDATE execution SET tasks_total = tasks_total + 1`, `ANALYZE`,
	} {
		if _, err := c.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	placed := c.start(20)
	claims := make([]execution.Claim, len(placed))
	for i, p := range placed {
		claims[i] = execution.Claim{UID: p.UID, Ant: c.ant, Session: c.sess}
	}
	asked := 0
	for len(claims) > 0 {
		found, err := c.store.Claim(t.Context(), claims)
		if err != nil {
			t.Fatal(err)
		}
		size := map[uuid.UUID]int{} // by run
		for _, x := range found {
			if size[x.Execution] = 0; !x.Job.Cut && x.Task.Method == "SHELL" && len(x.Job.Outputs) != 8 {
				t.Errorf("%s reads %d outputs", x.Task.Name, len(x.Job.Outputs))
			}
			for _, v := range x.Job.Outputs {
				size[x.Execution] += len(v)
			}
		}
		total := 0
		for _, n := range size {
			total += n
		}
		if total > 40<<20 {
			t.Errorf("%d bytes are read at once", total)
		}
		claims = slices.DeleteFunc(claims, func(x execution.Claim) bool { return !found[x.UID].Job.Cut })
		if asked++; asked > 5 {
			t.Fatalf("%d claims are never answered", len(claims))
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	http := 0
	for _, p := range placed {
		if p.Method == "HTTP_GET" {
			http++
			found, err := c.store.Claim(t.Context(), []execution.Claim{{UID: p.UID, Ant: c.ant, Session: c.sess}})
			if err != nil || len(found[p.UID].Job.Outputs) > 0 || found[p.UID].Job.Cut {
				t.Errorf("an HTTP task reads %v, %v", found, err)
			}
		}
	}
	if http != 1 {
		t.Errorf("%d HTTP tasks", http)
	}
}
