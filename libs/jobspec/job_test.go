package jobspec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/schedule"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/trigger"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// definition puts fields of a job before one task.
func definition(fields string) string {
	return "job_type: io.formicary.job\n" + fields + "\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n"
}

// stored reads a definition with fields that are stored only.
func stored(t *testing.T, text string) (*jobspec.Definition, []string) {
	t.Helper()
	def, warnings, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, w := range warnings {
		if w.Code != source.CodeInactiveField || w.Line == 0 {
			t.Errorf("warning %v", w)
		}
		fields = append(fields, strings.Fields(w.Message)[2])
	}
	return def, fields
}

func TestFieldsThatAreStored(t *testing.T) {
	def, inactive := stored(t, definition(`cron_trigger: 0 6 * * 1-5
schedule:
  - {cron: '@daily', timezone: Europe/Berlin, overlap: skip, catch_up: last, calendar: holidays}
  - {cron: 0 0/30 * * * * *}
public_plugin: true
sem_version: 1.2.3
retention_days_for_failed: 90
retention_days_for_completed: 3
retention_days_for_cancelled: 0
deadline: 6:30 America/New_York
resources: {resource_type: licence, description: d, platform: p, category: c, tags: [x, y], value: 2, extract_config: {properties: [a, b], context_prefix: L_}}
concurrency: {limit: 2, key: 'always', on_conflict: CANCEL_NEWEST}
max_concurrency: 2
`))
	want := []string{
		"cron_trigger", "schedule", "retention_days_for_failed", "retention_days_for_completed", "retention_days_for_cancelled",
		"deadline", "resources", "key", "on_conflict",
	}
	if diff := cmp.Diff(want, inactive); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]schedule.Schedule{
		{Cron: "0 6 * * 1-5", Timezone: "UTC", Overlap: schedule.OverlapQueue, CatchUp: schedule.CatchUpNone},
		{Cron: "@daily", Timezone: "Europe/Berlin", Overlap: schedule.OverlapSkip, CatchUp: schedule.CatchUpLast, Calendar: "holidays"},
		{Cron: "0 0/30 * * * * *", Timezone: "UTC", Overlap: schedule.OverlapQueue, CatchUp: schedule.CatchUpNone},
	}, def.Schedules); diff != "" {
		t.Error(diff)
	}
	if !def.PublicPlugin || def.MaxConcurrency != 2 || def.Retention != (schedule.Retention{Failed: 90, Completed: 3}) {
		t.Errorf("%+v", def)
	}
	p, err := def.Plan(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&plan.Deadline{At: "06:30", Timezone: "America/New_York"}, p.Deadline); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]plan.Resource{{
		Type: "licence", Description: "d", Platform: "p", Category: "c", Tags: []string{"x", "y"}, Value: 2, Properties: []string{"a", "b"}, ContextPrefix: "L_",
	}}, p.Resources); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&plan.Concurrency{Limit: 2, Key: "always", OnConflict: plan.ConflictCancelNewest}, p.Concurrency); diff != "" || p.MaxConcurrency != 2 {
		t.Error(diff, p.MaxConcurrency)
	}
}

func TestFieldsThatAct(t *testing.T) {
	text := definition(`hard_reset_after_retries: 5
timeouts: {total: 1d}
platform: '{{.os}}'
concurrency: 3
notify:
  email: {recipients: 'ops@example.com, {{.owner}}', when: onfailure}
  slack: {recipients: ['#builds'], when: never}
  webhook: https://example.com/hook?a=1,2
webhook: {url: 'https://example.com/{{.owner}}', headers: {Authorization: x}, query: {job: '{{.JobID}}'}}
`)
	p := planOf(t, text, value.Vars{"os": "linux", "owner": "ann@example.com", "JobID": "7"})
	if p.HardResetAfterRetries != 5 || p.TotalTimeout != 24*time.Hour || p.Platform != "linux" || p.MaxConcurrency != 3 {
		t.Errorf("%+v", p)
	}
	if diff := cmp.Diff([]plan.Notify{
		{Channel: plan.ChannelEmail, Recipients: []string{"ops@example.com", "ann@example.com"}, When: plan.OnFailure},
		{Channel: plan.ChannelSlack, Recipients: []string{"#builds"}, When: plan.Never},
		{Channel: plan.ChannelWebhook, Recipients: []string{"https://example.com/hook?a=1,2"}, When: plan.Always},
	}, p.Notify); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&plan.Webhook{
		URL: "https://example.com/ann@example.com", Headers: map[string]string{"Authorization": "x"}, Query: map[string]string{"job": "7"},
	}, p.Webhook); diff != "" {
		t.Error(diff)
	}
	_, err := parse(t, text).Plan(value.Vars{"os": "linux", "JobID": "7"})
	if err == nil || !strings.Contains(err.Error(), "the variable owner is not set") {
		t.Errorf("a recipient that nothing gives: %v", err)
	}
	_, err = parse(t, text).Plan(value.Vars{"os": "linux", "JobID": "7", "owner": "no address\nBcc: x"})
	if err == nil || !strings.Contains(err.Error(), "is no recipient of email") || strings.Contains(err.Error(), "Bcc") {
		t.Errorf("a recipient that is none: %v", err)
	}
	list := planOf(t, definition("notify:\n  - {channel: slack, recipients: '#a'}\n  - {channel: slack, recipients: '#b', when: onSuccess}"), nil)
	if len(list.Notify) != 2 || list.Notify[0].When != plan.Always || list.Notify[1].When != plan.OnSuccess {
		t.Errorf("%+v", list.Notify)
	}
	if p := planOf(t, hello, nil); p.HardResetAfterRetries != 3 || p.Notify != nil || p.Webhook != nil || p.Concurrency != nil {
		t.Errorf("%+v", p)
	}
}

func TestVariablesOfAJob(t *testing.T) {
	text := "job_type: j\nconfigs: [{name: a, value: config}, {name: b, value: config}]\nvariables: {b: own}\ntasks:\n  - {task_type: t, method: SHELL, script: 'echo {{.a}} {{.b}}'}\n"
	if p := planOf(t, text, nil); p.Tasks[0].Spec.Script[0] != "echo config own" {
		t.Errorf("%v", p.Tasks[0].Spec.Script)
	}
	static := planOf(t, "job_type: j\nvariables: {b: own}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n", nil)
	if static.Vars["b"] != "own" {
		t.Errorf("%v", static.Vars)
	}
}

// TestTriggers keeps templates over events as they are written, blocks included.
func TestTriggers(t *testing.T) {
	text := `job_type: j
{{if .x}}{{end}}
triggers:
# what follows is over events: {{.Body}}
  - type: webhook
    name: push
    path: /push
    auth: {method: hmac_sha256, secret_config: hook, header: X-Signature}
    params: {branch: "{{trimPrefix .Body.ref \"refs/heads/\"}}", n: 1}
    filter: '{{if eq .Body.action "opened"}}true{{end}}'
    dedup_key: "{{.Headers.Delivery}}"
    rate_limit: {max: 10}
  - {type: s3, name: files, bucket: b, prefix: in/, suffix: .csv, poll_interval: 1m}
  - {type: s3, name: told, bucket: b, mode: notification, topic: t}
  - type: queue
    name: orders
    topic: orders
    group: g
    shared: true
    filter: |
      {{range .Message.items}}
        true
      {{end}}
tasks:
  - {task_type: a, method: SHELL, script: x, description: 'echo {{.x}}'}
`
	def, inactive := stored(t, text)
	if diff := cmp.Diff([]string{"triggers"}, inactive); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]trigger.Trigger{
		{
			Type: "webhook", Name: "push", Path: "/push", Params: map[string]string{"branch": `{{trimPrefix .Body.ref "refs/heads/"}}`, "n": "1"},
			Auth: &trigger.Auth{Method: trigger.AuthHMAC, SecretConfig: "hook", Header: "X-Signature"}, Filter: `{{if eq .Body.action "opened"}}true{{end}}`,
			DedupKey: "{{.Headers.Delivery}}", RateLimit: &trigger.RateLimit{Max: 10, Window: time.Minute},
		},
		{Type: "s3", Name: "files", Mode: "poll", Bucket: "b", Prefix: "in/", Suffix: ".csv", PollInterval: time.Minute},
		{Type: "s3", Name: "told", Mode: "notification", Bucket: "b", Topic: "t"},
		{Type: "queue", Name: "orders", Topic: "orders", Group: "g", Shared: true, Filter: "{{range .Message.items}}\n  true\n{{end}}\n"},
	}, def.Triggers); diff != "" {
		t.Error(diff)
	}
	p, err := def.Plan(value.Vars{"x": "1"})
	if err != nil || p.Tasks[0].Description != "echo 1" {
		t.Errorf("%v %v", p, err)
	}
	made, _ := stored(t, "job_type: j\ntriggers:\n{{range $q := Iterate 1}}\n  - {type: queue, name: 'q', topic: t}\n{{end}}\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n")
	if len(made.Triggers) == 0 {
		t.Error("no triggers")
	}
}

func TestProblemsOfJobFields(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   []string
	}{
		{"cron_trigger: 61 * * * *", []string{`job.yaml:2:15: "61 * * * *" is no cron text: the minute: "61" is not between 0 and 59`}},
		{"cron_trigger: '{{.cron}}'", []string{`job.yaml:2:15: cron text is a template`}},
		{"schedule: [{cron: '@daily', timezone: Europe/Atlantis}, {timezone: Local}]", []string{
			`job.yaml:2:39: "Europe/Atlantis" is no time zone`,
			`job.yaml:2:57: the field cron is missing`,
			`job.yaml:2:68: "Local" is no time zone`,
		}},
		{"schedule: [{cron: '@daily', overlap: never, catchup: all}]", []string{
			`job.yaml:2:38: "never" is not known here, expected one of skip, queue, cancel_running`,
			`job.yaml:2:45: the field "catchup" is not known, expected catch_up`,
		}},
		{"schedule: [{cron: '@daily', timezone: ../../etc/passwd}]", []string{`job.yaml:2:39: "../../etc/passwd" is no time zone`}},
		{"deadline: soon", []string{`job.yaml:2:11: "soon" is no deadline`}},
		{"deadline: 25:00", []string{`job.yaml:2:11: "25:00" is no deadline`}},
		{"retention_days_for_failed: forever", []string{`job.yaml:2:28: "forever" is out of bounds or no whole number, expected 0 to 36500`}},
		{"public_plugin: true", []string{`job.yaml:2:16: a public plugin has no sem_version`}},
		{"max_concurrency: 1\nconcurrency: {limit: 2}", []string{`job.yaml:3:14: max_concurrency and concurrency.limit differ`}},
		{"concurrency: {limit: 2, on_conflict: explode}", []string{`job.yaml:2:38: "explode" is not known here`}},
		{"notify: {pigeon: {recipients: a}, email: {recipients: [a b]}, slack: {when: always}}", []string{
			`job.yaml:2:10: the field "pigeon" is not known`,
			`job.yaml:2:56: "a b" is no recipient of email`,
			`job.yaml:2:70: the field recipients is missing`,
		}},
		{"notify: [{channel: webhook, recipients: 'ftp://x'}, {recipients: a}]", []string{
			`job.yaml:2:41: "ftp://x" is no recipient of webhook`,
			`job.yaml:2:53: the field channel is missing`,
		}},
		{"webhook: {headers: {a: b}, uri: x}", []string{`job.yaml:2:10: the field url is missing`, `job.yaml:2:28: the field "uri" is not known, expected url`}},
		{"webhook: example.com", []string{`job.yaml:2:10: "example.com" is no URL`}},
		{"resources: [{value: 0}]", []string{`job.yaml:2:13: the field resource_type is missing`, `job.yaml:2:21: "0" is out of bounds`}},
		{"triggers:\n  - {type: webhook, name: a, bucket: b}\n  - {type: s3, name: a}\n  - {type: queue, name: 'x y'}", []string{
			`job.yaml:3:30: the field bucket is not one of a trigger of type webhook`,
			`job.yaml:4:5: the field bucket is missing`,
			`job.yaml:4:5: the trigger "a" is defined twice`,
			`job.yaml:5:5: the field topic is missing`,
			`job.yaml:5:25: "x y" cannot name a trigger`,
		}},
		{"triggers: [{type: webhook, name: a, auth: {method: none}, rate_limit: {window: 1s}}]", []string{
			`job.yaml:2:43: the field secret_config is missing`,
			`job.yaml:2:52: "none" is not known here`,
			`job.yaml:2:71: the field max is missing`,
		}},
	} {
		_, _, err := jobspec.Parse("job.yaml", []byte(definition(c.fields)))
		t.Run(c.fields, func(t *testing.T) { expectProblems(t, err, c.want...) })
	}
	_, _, err := jobspec.Parse("job.yaml", []byte("job_type: a.b\nsem_version: 1.0\npublic_plugin: true\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n"))
	expectProblems(t, err, `job.yaml:3:16: the job_type of a public plugin is no name in reverse-DNS style`)
}

// TestWarningsLeaveRoomForFaults hides a fault behind hundreds of warnings.
func TestWarningsLeaveRoomForFaults(t *testing.T) {
	var b strings.Builder
	b.WriteString("job_type: j\ntasks:\n")
	for i := range 500 {
		b.WriteString("  - {task_type: t" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ", method: SHELL, script: x, resources: {resource_type: a}}\n")
	}
	b.WriteString("  - {task_type: last, method: SHELL, script: x, retry: many}\n")
	_, warnings, err := jobspec.Parse("job.yaml", []byte(b.String()))
	expectProblems(t, err, `job.yaml:503:56: "many" is out of bounds`)
	if len(warnings) != 100 {
		t.Errorf("%d warnings", len(warnings))
	}
}
