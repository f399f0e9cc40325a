package jobspec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// task returns the first task of a job that has only what is given (and a fork to await).
func flowJob(fields string) string {
	return "job_type: j\ntasks:\n  - task_type: a\n" + indent(fields)
}

func indent(fields string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(fields, "\n"), "\n") {
		b.WriteString("    " + line + "\n")
	}
	return b.String()
}

func TestApprovalPolicy(t *testing.T) {
	p := planOf(t, flowJob(`method: MANUAL
approval_policy:
  min_approvals: 2
  allowed_users: "ann, bob,ann"
  allowed_roles: [Admin, "Ops,Sre"]
  require_unanimous: true
  allow_self_approval: yes
  sla_deadline: 1d2h
  timeout_action: auto_reject
  escalation_recipients: a@b.c
  escalation_message: hurry
on_exit_code: {APPROVED: b, REJECTED: ERR_NO}`)+"  - {task_type: b, method: SHELL, script: x}\n", nil)
	want := &plan.Approval{
		MinApprovals: 2, AllowedUsers: []string{"ann", "bob"}, AllowedRoles: []string{"Admin", "Ops", "Sre"}, RequireUnanimous: true, AllowSelfApproval: true,
		SLA: 26 * time.Hour, TimeoutAction: "AUTO_REJECT", EscalationRecipients: []string{"a@b.c"}, EscalationMessage: "hurry",
	}
	if diff := cmp.Diff(want, p.Tasks[0].Approval); diff != "" || p.Tasks[0].Decide {
		t.Error(diff)
	}
	p = planOf(t, flowJob("method: MANUAL"), nil)
	if diff := cmp.Diff(plan.DefaultApproval(), p.Tasks[0].Approval); diff != "" || len(p.StartClasses()) != 0 {
		t.Error(diff)
	}
}

func TestApprovalThatDependsOnOutputs(t *testing.T) {
	def := parse(t, "job_type: j\ntasks:\n  - {task_type: who, method: SHELL, script: x, on_completed: ask}\n  - task_type: ask\n    method: MANUAL\n    approval_policy: {allowed_users: '{{.owners}}', min_approvals: '{{.needed}}'}\n")
	p, err := def.Plan(nil)
	if err != nil || !p.Tasks[1].Decide {
		t.Fatalf("%+v, %v", p, err)
	}
	d, err := def.Decide("ask", value.Vars{"owners": "ann,bob", "needed": "2"}, condition.Facts{})
	if err != nil || d.Approval.MinApprovals != 2 || len(d.Approval.AllowedUsers) != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	_, err = def.Decide("ask", value.Vars{"owners": "ann"}, condition.Facts{})
	expectProblems(t, err, "job.yaml:6:71: the variable needed is not set")
}

// TestNobodyMayVote renders policies whose values name nobody: that must not let everyone vote.
func TestNobodyMayVote(t *testing.T) {
	for fields, open := range map[string]bool{
		"allowed_users: '{{.owners}}'":                                          false,
		"allowed_users: ['{{.owners}}'], allowed_roles: '{{.owners}}'":          false,
		"allowed_users: [{{range .none}}'{{.}}',{{end}}]":                       false,
		"allowed_users: '{{.owners}}', allowed_roles: admin":                    true,
		"allowed_users: '', escalation_message: '{{.owners}}'":                  true,
		"allowed_users: '{{.owners}}', allowed_roles: 'admin{{.owners}}'":       true,
		"escalation_recipients: '{{.owners}}', escalation_message: '{{.none}}'": true,
	} {
		def := parse(t, flowJob("method: MANUAL\napproval_policy: {"+fields+"}"))
		vars := value.Vars{"owners": " , ", "none": ""}
		if strings.Contains(fields, "range") {
			vars["none"] = []any{}
		}
		if _, err := def.Plan(vars); open != (err == nil) {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

func TestFork(t *testing.T) {
	text := `job_type: j
tasks:
  - task_type: fork
    method: FORK_JOB
    fork_job_type: io.example.child
    fork_job_version: ^1.2
    cascade_cancel: true
    variables: {shared: 1, color: red}
    sub_workflow:
      input_params:
        - {name: color, value: "{{.color_of}}"}
      output_variables: {result: child_result}
      wait_for_completion: true
    on_completed: join
  - {task_type: other, method: FORK_JOB, fork_job_type: c2, job_version: 3}
  - {task_type: join, method: AWAIT_FORKED_JOB, await_forked_tasks: [fork, other]}
`
	def := parse(t, text)
	p, err := def.Plan(value.Vars{"color_of": "blue"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := def.Decide("fork", value.Vars{"color_of": "green"}, condition.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	want := &plan.Fork{
		JobType: "io.example.child", Version: "^1.2", Params: map[string]any{"shared": int64(1), "color": "green"},
		Outputs: []plan.OutputName{{Name: "result", As: "child_result"}}, Wait: true, CascadeCancel: true,
	}
	if diff := cmp.Diff(want, d.Fork); diff != "" || !p.Tasks[0].Decide {
		t.Error(diff)
	}
	if join := p.Tasks[2]; strings.Join(join.AwaitForkedTasks, " ") != "fork other" || strings.Join(join.DependsOn, " ") != "other" {
		t.Errorf("%+v", join) // an edge leads from fork already
	}
	if p.Tasks[1].Fork.Version != "3" || len(p.StartClasses()) != 0 {
		t.Errorf("%+v", p.Tasks[1])
	}
}

func TestForkThatIsKnownLate(t *testing.T) {
	def := parse(t, "job_type: j\ntasks:\n  - {task_type: pick, method: SHELL, script: x, on_completed: fork}\n  - {task_type: fork, method: FORK_JOB, fork_job_type: '{{.next_job}}', script: ['{{.secret}}']}\n")
	if _, err := def.Plan(nil); err != nil {
		t.Fatal(err)
	}
	d, err := def.Decide("fork", value.Vars{"next_job": "k"}, condition.Facts{})
	if err != nil || d.Fork.JobType != "k" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = def.Decide("fork", value.Vars{"next_job": "j"}, condition.Facts{}); err != nil || d.Fork.JobType != "j" {
		t.Errorf("a fork of itself: %+v, %v", d, err)
	}
	_, err = def.Decide("fork", nil, condition.Facts{})
	expectProblems(t, err, "job.yaml:4:59: the variable next_job is not set")
}

func TestRetryOn(t *testing.T) {
	for _, c := range []struct {
		text string
		want *plan.RetryOn
	}{
		{"", nil},
		{"retry_on: [1, 64-78, 5xx, timeout, oom, infra]", &plan.RetryOn{Codes: []string{"1", "64-78", "5xx"}, Timeout: plan.Budget{Shared: true}, OOM: plan.Budget{Shared: true}, Infra: plan.Budget{Own: 3}}},
		{"retry_on: user", &plan.RetryOn{Any: true, Infra: plan.Budget{Own: 3}}},
		{"retry_on: {codes: [3], timeout: 2, oom: true, infra: 0}", &plan.RetryOn{Codes: []string{"3"}, Timeout: plan.Budget{Own: 2}, OOM: plan.Budget{Shared: true}}},
		{"retry_on: {user: true, infra: true}", &plan.RetryOn{Any: true, Infra: plan.Budget{Shared: true}}},
		{"retry_on: {codes: '*'}", &plan.RetryOn{Any: true, Infra: plan.Budget{Own: 3}}},
	} {
		p := planOf(t, flowJob("method: SHELL\nscript: x\n"+c.text), nil)
		if diff := cmp.Diff(c.want, p.Tasks[0].RetryOn); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
}

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		on     *plan.RetryOn
		class  string
		code   int
		n      int
		shared bool
	}{
		{nil, "user", 1, 5, true},
		{nil, "timeout", 0, 5, true},
		{nil, "oom", 137, 5, true},
		{nil, "infra", 0, 3, false},
		{nil, "rejected", 0, 0, false},
		{&plan.RetryOn{Codes: []string{"64-78"}}, "user", 70, 5, true},
		{&plan.RetryOn{Codes: []string{"64-78"}}, "user", 1, 0, false},
		{&plan.RetryOn{Any: true}, "user", 1, 5, true},
		{&plan.RetryOn{Timeout: plan.Budget{Own: 2}}, "timeout", 0, 2, false},
		{&plan.RetryOn{}, "oom", 137, 0, false},
		{&plan.RetryOn{Infra: plan.Budget{Shared: true}}, "infra", 0, 5, true},
	} {
		task := &plan.Task{Retry: 5, RetryOn: c.on}
		if n, shared := task.Budget(c.class, c.code); n != c.n || shared != c.shared {
			t.Errorf("%+v %s %d: %d %t", c.on, c.class, c.code, n, shared)
		}
	}
}

func TestOutputs(t *testing.T) {
	for _, text := range []string{"outputs: {n: int, s: string}", "outputs: [{name: n, type: int}, {name: s}]", "outputs: {n: {type: int}, s: {}}"} {
		p := planOf(t, flowJob("method: SHELL\nscript: x\n"+text), nil)
		if diff := cmp.Diff([]plan.Output{{Name: "n", Type: "int"}, {Name: "s", Type: "string"}}, p.Tasks[0].Outputs); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	task := &plan.Task{Outputs: []plan.Output{{Name: "n", Type: "int", Required: true}, {Name: "j", Type: "json"}}}
	for _, c := range []struct {
		outputs map[string]string
		want    string
	}{
		{map[string]string{"n": "1", "j": `{"a": 1}`}, ""},
		{map[string]string{"n": "1"}, ""},
		{nil, `the output "n" is missing`},
		{map[string]string{"n": "canary", "j": "{"}, `the output "n" is not a whole number; the output "j" is not JSON`},
	} {
		got := ""
		if err := param.CheckOutputs(task, c.outputs); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.outputs, got, c.want)
		}
	}
}

func TestMessagingAndOthers(t *testing.T) {
	p := planOf(t, `job_type: j
tasks:
  - {task_type: m, method: MESSAGING, messaging_request_queue: orders.new, messaging_reply_queue: orders.done, tags: [w]}
  - {task_type: w, method: WEBSOCKET, tags: [browser]}
  - {task_type: e, method: EXPIRE_ARTIFACTS, variables: {retention_days: 3}}
  - {task_type: s, method: SHELL, script: x, artifact_ids: [a1, a2], on_exit_code: {3: WAIT_FOR_APPROVAL, APPROVED: [m2], REJECTED: FATAL}}
  - {task_type: m2, method: SHELL, script: x}
`, nil)
	if m := p.Tasks[0]; m.Spec.RequestQueue != "orders.new" || m.Spec.ReplyQueue != "orders.done" {
		t.Errorf("%+v", m)
	}
	if s := p.Tasks[3]; strings.Join(s.ArtifactIDs, " ") != "a1 a2" || len(s.Routes) != 3 || s.Approval != nil {
		t.Errorf("%+v", s)
	}
	var classes []string
	for _, c := range p.StartClasses() {
		classes = append(classes, c.String())
	}
	if strings.Join(classes, " ") != "MESSAGING|w|1 SHELL||1 WEBSOCKET|browser|1" {
		t.Errorf("%v", classes)
	}
}

func TestTaskFlowFaults(t *testing.T) {
	for _, c := range []struct{ name, fields, want string }{
		{"fork without job", "method: FORK_JOB", "3:5: the field fork_job_type is missing"},
		{"fork of itself", "method: FORK_JOB\nfork_job_type: j", "5:20: the job would submit itself"},
		{"fork of no name", "method: FORK_JOB\nfork_job_type: a b", `5:20: "a b" cannot name a job`},
		{"fork of no version", "method: FORK_JOB\nfork_job_type: b\nfork_job_version: newest", `6:23: "newest" is no version`},
		{"two versions", "method: FORK_JOB\nfork_job_type: b\nfork_job_version: 1\njob_version: 2", "7:5: two versions"},
		{"fork field of another method", "method: SHELL\nscript: x\nfork_job_type: b", "6:20: the field fork_job_type is for the method FORK_JOB"},
		{"unknown field of sub_workflow", "method: FORK_JOB\nfork_job_type: b\nsub_workflow: {input_parms: {}}", `6:20: the field "input_parms" is not known, expected input_params`},
		{"output without name", "method: FORK_JOB\nfork_job_type: b\nsub_workflow: {output_variables: [{value: x}]}", "6:39: the field name is missing"},
		{"await without tasks", "method: AWAIT_FORKED_JOB", "4:13: the field await_forked_tasks is missing"},
		{"await of an unknown task", "method: AWAIT_FORKED_JOB\nawait_forked_tasks: [b]", `5:26: the task "b" does not exist`},
		{"await of itself", "method: AWAIT_FORKED_JOB\nawait_forked_tasks: a", `5:25: the task "a" submits no job`},
		{"messages without subject", "method: MESSAGING", "4:13: the field messaging_request_queue is missing"},
		{"messages of the system", "method: MESSAGING\nmessaging_request_queue: formicary.event.x", `5:30: "formicary.event.x" is no subject`},
		{"the same subject", "method: MESSAGING\nmessaging_request_queue: a.b\nmessaging_reply_queue: a.b", "6:28: requests and replies are on the same subject"},
		{"internal method", "method: FAN_OUT_JOB", "4:13: the method FAN_OUT_JOB is internal"},
		{"policy without approval", "method: SHELL\nscript: x\napproval_policy: {min_approvals: 1}", "6:22: approval_policy is for the method MANUAL"},
		{"too many approvals", "method: MANUAL\napproval_policy: {min_approvals: 3, allowed_users: a}", "5:38: more approvals are needed"},
		{"no approvals", "method: MANUAL\napproval_policy: {min_approvals: 0}", `5:38: "0" is out of bounds`},
		{"no action", "method: MANUAL\napproval_policy: {timeout_action: WAIT}", `5:39: "WAIT" is no action`},
		{"unknown field of a policy", "method: MANUAL\napproval_policy: {min_approval: 1}", `5:23: the field "min_approval" is not known, expected min_approvals`},
		{"approval outcome of a script", "method: SHELL\nscript: x\non_exit_code: {APPROVED: COMPLETED}", "6:20: the outcome APPROVED is that of an approval"},
		{"approval of an approval", "method: MANUAL\non_exit_code: {APPROVED: WAIT_FOR_APPROVAL}", "5:20: an approval leads to another one"},
		{"approval as sensor", "method: MANUAL\non_completed: EXECUTING", "5:19: an approval is nothing to poll"},
		{"retry_on a word", "method: SHELL\nscript: x\nretry_on: [tiemout]", `6:16: "tiemout" is no failure`},
		{"retry_on a state", "method: SHELL\nscript: x\nretry_on: FAILED", `6:15: "FAILED" is no failure`},
		{"retry_on an unknown class", "method: SHELL\nscript: x\nretry_on: {timeot: 1}", `6:16: the field "timeot" is not known, expected timeout`},
		{"output of no type", "method: SHELL\nscript: x\noutputs: {a: integer}", `6:18: "integer" is no type of outputs`},
		{"output twice", "method: SHELL\nscript: x\noutputs: [a, a]", `6:14: the output "a" is given twice`},
		{"empty condition", "method: SHELL\nscript: x\nwhen: ''", "6:11: the condition is empty"},
		{"fan_out without list", "method: SHELL\nscript: x\nfan_out: {item_var: x}", "6:14: the field source is missing"},
		{"fan_out with two lists", "method: SHELL\nscript: x\nfan_out: {source: x, items: [a]}", "6:23: source and items are both given"},
		{"fan_out and matrix", "method: SHELL\nscript: x\nmatrix: {a: [1]}\nfan_out: {source: x}", "7:14: matrix and a list of fan_out"},
		{"fan_out of text", "method: SHELL\nscript: x\nfan_out: {items: abc}", "6:22: the list of the fan-out is no JSON list"},
		{"fan_out over no name", "method: SHELL\nscript: x\nfan_out: {source: a b}", `6:23: "a b" is no variable`},
		{"fan_out into a built-in", "method: SHELL\nscript: x\nfan_out: {source: a, item_var: JobID}", `6:36: "JobID" is a built-in variable`},
		{"no part of the items", "method: SHELL\nscript: x\nfan_out: {source: a, min_success: 101%}", `6:39: "101%" is no number of items`},
		{"unknown field of fan_out", "method: SHELL\nscript: x\nfan_out: {source: a, max_parallell: 1}", `6:26: the field "max_parallell" is not known, expected max_parallel`},
		{"jobs of a script", "method: SHELL\nscript: x\nfan_out: {source: a, fork_job_type: b}", "4:13: fan_out.fork_job_type makes jobs of the items"},
		{"condition on the item and a task", "method: SHELL\nscript: x\nfan_out: {source: a}\nexcept: params.item == 'x' && size(tasks) == 3", `7:13: except asks for the item and for a task`},
		{"matrix of text", "method: SHELL\nscript: x\nmatrix: {a: x}", "6:17: a of the matrix is no list"},
		{"matrix of nothing", "method: SHELL\nscript: x\nmatrix: {a: []}", "6:13: the matrix has no combination"},
		{"matrix list", "method: SHELL\nscript: x\nmatrix: [a]", "6:13: matrix is a list"},
		{"matrix of entries", "method: SHELL\nscript: x\nmatrix: {a: [1], exclude: [1]}", "6:31: an entry of exclude is no mapping"},
		{"large matrix", "method: SHELL\nscript: x\nmatrix: {a: [" + strings.Repeat("1,", 39) + "1], b: [" + strings.Repeat("1,", 39) + "1]}", "6:13: the matrix has too many combinations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := jobspec.Parse("job.yaml", []byte(flowJob(c.fields)))
			expectProblems(t, err, "job.yaml:"+c.want)
		})
	}
}

func TestAwaitedTasksComeBefore(t *testing.T) {
	_, _, err := jobspec.Parse("job.yaml", []byte(`job_type: j
tasks:
  - {task_type: join, method: AWAIT_FORKED_JOB, await_forked_tasks: fork, on_completed: fork}
  - {task_type: fork, method: FORK_JOB, fork_job_type: b}
`))
	expectProblems(t, err, "job.yaml:3:69: the tasks wait for each other: join → fork → join")
	_, warnings, err := jobspec.Parse("job.yaml", []byte(`job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x, fan_out: {items: [1]}}
  - {task_type: b, method: SHELL, script: x, fan_out: {source: a_results}}
`))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), "job.yaml:4:64: warning: the fan-out is over results of \"a\"") {
		t.Errorf("%v, %v", warnings, err)
	}
}

// TestWebhooksAreRenderedWhenTheTaskStarts: what they are sent may depend on the tasks before, and is no text of a template.
func TestWebhooksAreRenderedWhenTheTaskStarts(t *testing.T) {
	def := parse(t, "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, on_completed: b, webhook: 'https://h/{{.JobID}}'}\n"+
		"  - {task_type: b, method: SHELL, script: x, webhook: {url: 'https://h/?x={{.out}}', headers: {X-B: '{{.out}}'}}}\n")
	p, err := def.Plan(value.Vars{"JobID": "7"})
	if err != nil || p.Tasks[0].Decide || !p.Tasks[1].Decide || !p.Tasks[1].Webhook.Late {
		t.Fatalf("%+v, %v", p, err)
	}
	if diff := cmp.Diff(&plan.Webhook{URL: "https://h/7"}, p.Tasks[0].Webhook); diff != "" {
		t.Error(diff)
	}
	d, err := def.Decide("b", value.Vars{"out": "1"}, condition.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&plan.Webhook{URL: "https://h/?x=1", Headers: map[string]string{"X-B": "1"}}, d.Webhook); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []value.Vars{nil, {"out": "1\r\nX-C: 2"}} {
		if _, err := def.Decide("b", bad, condition.Facts{}); err == nil {
			t.Errorf("%v is sent", bad)
		}
	}
}
