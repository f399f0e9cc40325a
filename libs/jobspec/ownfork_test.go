package jobspec_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestJobsThatForkThemselves: certain recursion is refused, recursion under a condition is a warning, and a job that
// waits for itself in one slot is another.
func TestJobsThatForkThemselves(t *testing.T) {
	const own, waits = "the job submits itself", "the job waits for runs of itself"
	alone := "  - {task_type: a, method: SHELL, script: x}\n"
	first := "  - {task_type: a, method: SHELL, script: x, on_completed: f}\n"
	fork := "  - {task_type: f, method: FORK_JOB, fork_job_type: j%}\n"
	wait := strings.Replace(fork, "%", ", sub_workflow: {wait_for_completion: true}%", 1)
	for _, c := range []struct {
		name, head, tasks, more string
		want                    []string
		err                     string
	}{
		{name: "certain", tasks: fork, err: "the job would submit itself"},
		{name: "a condition", tasks: fork, more: ", when: 'params.n > 0'", want: []string{own}},
		{name: "an edge", tasks: first + fork, want: []string{own}},
		{name: "except", tasks: fork, more: ", except: '{{.stop}}'", want: []string{own}},
		{name: "a template", tasks: "{{if lt .n 3}}\n" + fork + "{{end}}" + alone, want: []string{own}},
		{name: "items", tasks: "  - {task_type: f, method: FORK_JOB, fan_out: {source: list, fork_job_type: j%}}\n", want: []string{own}},
		{name: "one slot", head: "max_concurrency: 1\n", tasks: first + wait, want: []string{own, waits + ", and there may be 1 at once"}},
		{name: "ten slots", head: "concurrency: {limit: 10}\n", tasks: first + wait, want: []string{own, waits + ", and there may be 10 at once: when 11 wait"}},
		{name: "a slot for each ancestor", head: "max_concurrency: 11\n", tasks: first + wait, want: []string{own}},
		{name: "not awaited", head: "max_concurrency: 1\n", tasks: first + fork, want: []string{own}},
		{name: "awaited later", head: "max_concurrency: 1\n", tasks: first + strings.Replace(fork, "%", ", on_completed: w%", 1) + "  - {task_type: w, method: AWAIT_FORKED_JOB, await_forked_tasks: [f]}\n", want: []string{own, waits}},
		{name: "items in one slot", head: "max_concurrency: 1\n", tasks: "  - {task_type: f, method: FORK_JOB, fan_out: {source: list, fork_job_type: j%}}\n", want: []string{own, waits}},
		{name: "groups", head: "concurrency: {limit: 1, key: '{{.n}}'}\n", tasks: first + wait, want: []string{own}},
		{name: "another job", head: "max_concurrency: 1\n", tasks: strings.Replace(wait, "type: j", "type: k", 1)},
	} {
		text := "job_type: j\n" + c.head + "tasks:\n" + strings.Replace(c.tasks, "%", c.more, 1)
		def, warnings, err := jobspec.Parse("job.yaml", []byte(text))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.name, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, w := range warnings {
			if w.Code == source.CodeOwnFork {
				got = append(got, w.Message)
			}
		}
		ok := len(got) == len(c.want)
		for i := 0; ok && i < len(got); i++ {
			ok = strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if _, err := def.Plan(value.Vars{"n": 1, "list": []any{1}, "stop": false}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
