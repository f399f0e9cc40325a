package jobspec

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// everyPosition are definitions that together use every field of the language.
func everyPosition() map[string]string {
	const script = "tasks:\n  - {task_type: a, method: SHELL, script: x}\n"
	return map[string]string{
		"job": `job_type: io.formicary.all
description: text
sem_version: 1.2.3
version: 1
url: https://example.com
platform: linux
disabled: false
public_plugin: true
max_concurrency: 2
priority: 10
tags: [a]
methods: [SHELL]
required_params: [v]
params:
  - {name: p, type: enum, default: a, required: false, pattern: '[a-z]', enum: [a, b], description: text}
job_variables: {v: text, n: 1, l: [a, b], m: {k: v}}
configs: [{name: c, value: d, kind: string}]
dynamic_template_tasks: true
undefined_variables: strict
skip_if: 'false'
fail_fast: true
cleanup_timeout: 1m
pause_time: 1m
deadline: 1h
timeouts: {pending: 1m, run: 1h, total: 2h, grace: 1s}
retry: 1
hard_reset_after_retries: 2
retry_backoff_policy: {min: 1s, max: 1m, factor: 2, jitter: true}
retention_days_for_failed: 1
retention_days_for_completed: 1
retention_days_for_cancelled: 1
tasks:
  - task_type: a
    method: SHELL
    script: echo {{.v}} {{.c}}
`,
		"job, short forms": `job_type: short
timeout: 1h
delay_between_retries: 2s
cron_trigger: 0 0 * * *
webhook: https://example.com/hook
notify: {email: [a@example.com], slack: {recipients: ['#c'], when: onFailure}}
variables: [{name: v, value: text}]
concurrency: {limit: 2, key: text, on_conflict: queue}
` + script,
		"job, events": `job_type: events
schedule: [{cron: '@daily', timezone: UTC, overlap: skip, catch_up: last, calendar: work}]
webhook: {url: 'https://example.com/a?b=c', headers: {X-A: text}, query: {q: text}}
notify: [{channel: webhook, recipients: ['https://example.com'], when: always}]
backoff: {min: 1s}
resources: {resource_type: db, description: text, platform: linux, category: c, tags: [a], value: 2, extract_config: {properties: [host], context_prefix: db_}}
triggers:
  - {type: webhook, name: w, params: {p: text}, filter: 'true', dedup_key: k, rate_limit: {max: 1, window: 1m}, path: /in, auth: {method: hmac_sha256, secret_config: s, header: X-Sig}}
  - {type: s3, name: s, mode: poll, bucket: b, prefix: p, suffix: .csv, poll_interval: 1m}
  - {type: queue, name: q, topic: t, group: g, shared: true}
` + script,
		"scripts": `job_type: scripts
tasks:
  - task_type: a
    description: text
    method: SHELL
    tags: [x, y]
    slots: 2
    variables: {v: text, l: [a, {k: b}]}
    outputs: [{name: o, type: string, required: true, description: text}]
    secrets: [{name: s, env: S}, {name: f, file: s/f}]
    webhook: {url: 'https://example.com', headers: {X-A: text}, query: {q: text}}
    resources: {resource_type: db, value: 1}
    on_exit_code: {3: b, 4xx: b, TIMED_OUT: [b]}
    on_completed: [b, c]
    on_failed: FATAL
    artifact_ids: [id]
    when: params.x == 'text'
    except: 'false'
    allow_failure: false
    always_run: false
    allow_start_if_completed: true
    execution: at_least_once
    timeouts: {pending: 1m, run: 1m, total: 1h, grace: 1s}
    retry: 2
    retry_on: {codes: [1, 4xx], user: false, timeout: 1, oom: true, infra: 2}
    backoff: {min: 1s, max: 2s, factor: 2, jitter: true}
    before_script: [line]
    script: [line, 'echo "text"', "if [ $A = 'text' ]; then"]
    after_script: |
      line
      more
    environment: {A: text, B: 1}
    working_dir: dir
    report_stdout: true
    log_limit: 16Mi
    cpu_limit: 500m
    memory_limit: 64Mi
  - {task_type: b, method: SHELL, script: x, environment: [A=b, {name: C, value: d}], dependencies: [a], timeout: 1m}
  - {task_type: c, method: SHELL, script: x, depends_on: a, delay_between_retries: 1s, outputs: {o: int}, secrets: s, retry_on: [3]}
`,
		"requests": `job_type: requests
tasks:
  - {task_type: a, method: HTTP_POST_JSON, url: 'https://example.com/text', headers: {A: text}, query: {q: text}, variables: {v: text}, on_exit_code: {404: EXECUTING}}
  - {task_type: b, method: HTTP_GET, script: 'https://example.com', headers: [A=b], query: [a=b]}
  - {task_type: m, method: MESSAGING, messaging_request_queue: work.in, messaging_reply_queue: work.out}
`,
		"times": `job_type: times
tasks:
  - {task_type: w, method: WAIT, wait: 1m}
`,
		"children": `job_type: children
tasks:
  - task_type: f
    method: FORK_JOB
    fork_job_type: child
    fork_job_version: ^1.2
    variables: {v: text}
    sub_workflow: {input_params: {a: text, l: [b]}, output_variables: {o: out}, wait_for_completion: true, cascade_cancel: true}
    on_completed: g
  - task_type: g
    method: FORK_JOB
    fork_job_type: child
    job_version: 3
    cascade_cancel: true
    sub_workflow: {input_params: [{name: a, value: text}], output_variables: [{name: o, value: out}, p]}
    on_completed: w
  - {task_type: w, method: AWAIT_FORKED_JOB, await_forked_tasks: [g]}
`,
		"approvals": `job_type: approvals
tasks:
  - task_type: a
    method: MANUAL
    description: please
    approval_policy: {min_approvals: 1, allowed_users: [ann, bob], allowed_roles: [ops], require_unanimous: false, allow_self_approval: true, sla_deadline: 1h, timeout_action: ESCALATE, escalation_recipients: [c@example.com], escalation_message: text}
    on_exit_code: {APPROVED: b, REJECTED: FATAL}
  - {task_type: b, method: SHELL, script: x, on_failed: WAIT_FOR_APPROVAL, approval_policy: {allowed_users: 'ann,bob'}}
`,
		"items": `job_type: items
job_variables: {list: [a, b], name: list}
tasks:
  - {task_type: s, method: SHELL, script: 'x {{.item}}', fan_out: {source: list, item_var: item, max_parallel: 2, fail_fast: true, min_success: 50%}, on_completed: [i, m]}
  - {task_type: i, method: SHELL, script: x, fan_out: {items: [a, {k: b}], min_success: 1}}
  - {task_type: m, method: SHELL, script: x, matrix: {os: [linux, mac], go: ['1.25'], include: [{os: bsd, go: x}], exclude: [{os: mac, go: '1.25'}]}, on_completed: j}
  - {task_type: j, method: FORK_JOB, fan_out: {source: list, fork_job_type: child, fork_job_version: ~1.2}}
`,
		"containers": `job_type: containers
tasks:
  - task_type: a
    method: KUBERNETES
    script: [line]
    name: pod
    container:
      imageDefinition: {name: img, alias: al, command: [c], entrypoint: [e], ports: [{number: 80, protocol: TCP, name: http}]}
      volumes:
        host_path: [{name: h, mount_path: /h, sub_path: s, read_only: true, host_path: /host}]
        pvc: {name: p, mount_path: /p}
        config_map: [{name: c, mount_path: /c, items: {k: path}}]
        secret: [{name: s, mount_path: /s, items: {k: path}}]
        empty_dir: [{name: e, mount_path: /e, medium: Memory}]
        projected: [{name: r, mount_path: /r, sources: [{secret: {name: s, items: {k: v}}}, {config_map: c}, {service_account_token: {audience: a, expiration_seconds: 3600, path: t}}]}]
      service_account: acct
      env_from: [{secret_ref: {name: s}, prefix: P_}, {config_map_ref: c}]
      env_value_from: [{name: A, secret_name: s, key: k}, {name: B, config_map_name: c, key: k}]
      cpu_limit: 2
      cpu_request: 1
      memory_limit: 1G
      memory_request: 512Mi
      ephemeral_storage_limit: 2G
      ephemeral_storage_request: 1G
    helper: {image: helper, cpu_limit: 1}
    services:
      - {name: db, instances: 2, alias: db, working_directory: /w, image: pg, command: [c], entrypoint: [e], volumes: {empty_dir: [{name: x, mount_path: /x}]}, ports: [5432], cpu_limit: 1, cpu_request: 1, memory_limit: 1G, memory_request: 1G, ephemeral_storage_limit: 1G, ephemeral_storage_request: 1G}
    privileged: false
    host_network: false
    affinity:
      required_during_scheduling_ignored_during_execution: {node_selector_terms: [{match_expressions: [{key: k, operator: In, values: [v]}], match_fields: [{key: metadata.name, operator: In, values: [v]}]}]}
      preferred_during_scheduling_ignored_during_execution: [{weight: 5, preference: {match_expressions: [{key: k, operator: Exists}]}}]
    node_selector: {disk: ssd}
    node_tolerations: [{key: k, operator: Equal, value: v, effect: NoExecute, toleration_seconds: 30}]
    pod_labels: {l: text}
    pod_annotations: {a: text}
    helper_environment: {H: text}
    artifacts: {paths: ['*.txt'], when: always, expires_after: 24h, optional: true}
    artifacts_dir: dir
    artifact_key_prefix: pre
    dependent_artifact_ids: [id]
    cache: {key: k, paths: [vendor], expires_after: 24h}
    cache_dir: dir
    cost_factor: 1.5
    execute_command_without_shell: true
    debug: true
  - task_type: b
    method: DOCKER
    script: [line]
    container: {image: img, image_definition: {name: img}, volumes: {data: /data, bind-mount-x: /x}, volume_driver: local, volumes_from: [c], devices: [/dev/x], bind_dir: /b, user: '7', shm_size: 1Mi, pids_limit: 9, extra_hosts: {a: 10.0.0.1}, pull_policy: never}
    network_mode: bridge
    node_tolerations: {k=v: NoSchedule}
    affinity: {node_affinity: {required_during_scheduling_ignored_during_execution: {node_selector_terms: [{match_expressions: [{key: k, values: [v]}]}]}}}
    cache: {key_paths: [go.sum], restore_keys: [k], paths: [vendor]}
`,
	}
}

// TestEveryPositionIsListed holds the definitions above against the tables of the language.
func TestEveryPositionIsListed(t *testing.T) {
	all := ""
	for name, text := range everyPosition() {
		all += text
		if _, _, err := Parse(name, []byte(text)); err != nil {
			t.Errorf("%s", err)
		}
	}
	tables := append([]field.Level{{Name: "job", Fields: schema.Job}}, schema.Levels()...)
	for _, l := range tables {
		for _, f := range l.Fields() {
			if !strings.Contains(all, f.Name+":") && f.Name != "secret" {
				t.Errorf("%s.%s is not in any definition", l.Name, f.Name)
			}
		}
	}
}

const (
	placeOfValue  = "PLACEOFVALUE"
	harmlessValue = "harmless"
	leaked        = "leaked-by-rendering-again"
)

// tryAllWays is how many of the hostile values all ways of writing are tried with.
const tryAllWays = 3

// hostileValues try to be more than text.
func hostileValues() []string {
	return []string{
		"x\nprivileged: true", "\"; rm -rf", "{{.Secret}}", "!!binary x", "*anchor", "&a", "[a, b", "#c", "{a: b}", "\n---\n- x: y",
		"\uE0F00\uE0F1", "\x00\r\n\ttab", "' || true || '", "a=b", "LD_PRELOAD=/x", "/etc:/x:ro",
	}
}

// positions calls back for each place of a scalar in a definition (a value, an item of a list or a key), with a template
// there: once plain and once in another way, in turn.
func positions(t *testing.T, text string, each func(where, src string)) {
	t.Helper()
	doc := &yaml.Node{}
	if err := yaml.Unmarshal([]byte(text), doc); err != nil {
		t.Fatal(err)
	}
	type way struct {
		value string
		style yaml.Style
	}
	others := []way{{placeOfValue, yaml.DoubleQuotedStyle}, {"a " + placeOfValue + " b", 0}, {placeOfValue + "\nend", yaml.LiteralStyle}}
	visited := 0
	visit := func(n *yaml.Node, path string) {
		before := *n
		visited++
		for _, form := range []way{{placeOfValue, 0}, others[visited%len(others)]} {
			*n = yaml.Node{Kind: yaml.ScalarNode, Value: form.value, Style: form.style}
			src, err := yaml.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			each(fmt.Sprintf("%s as %q %d", path, form.value, form.style), strings.ReplaceAll(string(src), placeOfValue, "{{.Hostile}}"))
		}
		*n = before
	}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				at := path + "." + n.Content[i].Value
				visit(n.Content[i], at+" (key)")
				walk(n.Content[i+1], at)
			}
		case yaml.ScalarNode:
			visit(n, path)
		default:
			for i, child := range n.Content {
				walk(child, path+"["+fmt.Sprint(i)+"]")
			}
		}
	}
	walk(doc, "")
}

// outcome is all that a definition becomes with a value: its plan, and its tasks when they start.
func outcome(def *Definition, val string) ([]any, error) {
	vars := value.Vars{"Hostile": val, "Secret": leaked, "v": "text", "JobID": "j", "EpochSecs": 1}
	plan, err := def.Plan(vars)
	if err != nil {
		return nil, err
	}
	out := []any{plan, def.JobType, def.Description, def.URL}
	claim := value.Merged(plan.Vars, value.Vars{"JobRetry": 1})
	for i := range plan.Tasks {
		task := &plan.Tasks[i]
		if task.Decide {
			d, err := def.Decide(task.Name, claim, condition.Facts{Vars: claim})
			if err != nil {
				return nil, err
			}
			out = append(out, d)
			if task.FanOut != nil && len(d.Items) > 0 {
				item, err := def.Item(task.Name, d.Items[0], 0, claim)
				if err != nil {
					return nil, err
				}
				out = append(out, item)
			}
		}
		if task.FanOut == nil {
			late, err := def.Task(task.Name, claim)
			if err != nil {
				return nil, err
			}
			out = append(out, late)
		}
	}
	return out, nil
}

// differ compares two outcomes that differ in one value. It returns where they differ in more.
func differ(x, y reflect.Value, val, path string) string {
	if x.Kind() != y.Kind() || !x.IsValid() {
		if x.IsValid() || y.IsValid() {
			return path
		}
		return ""
	}
	switch x.Kind() {
	case reflect.Pointer, reflect.Interface:
		return differ(x.Elem(), y.Elem(), val, path)
	case reflect.Struct:
		for i := range x.NumField() {
			if f := x.Type().Field(i); f.IsExported() && f.Name != "Vars" {
				if at := differ(x.Field(i), y.Field(i), val, path+"."+f.Name); at != "" {
					return at
				}
			}
		}
		return ""
	case reflect.Map:
		return differInMap(x, y, val, path)
	case reflect.Slice:
		same := x.Len() == y.Len()
		for i := 0; same && i < x.Len(); i++ {
			at := differ(x.Index(i), y.Index(i), val, fmt.Sprintf("%s[%d]", path, i))
			if at != "" && !sameWords(x, y, val) {
				return at
			}
		}
		if !same && !sameWords(x, y, val) { // a list of words with commas between them, such as tags
			return path
		}
		return ""
	case reflect.String:
		a, b := x.String(), y.String()
		if a != b && !nameOfItem.MatchString(path) && plainly(strings.ReplaceAll(a, harmlessValue, val)) != plainly(b) {
			return path
		}
		return ""
	default:
	}
	if !x.Equal(y) {
		return path
	}
	return ""
}

func differInMap(x, y reflect.Value, val, path string) string {
	if x.Len() != y.Len() {
		return path
	}
	for _, k := range x.MapKeys() {
		other := y.MapIndex(k)
		if !other.IsValid() {
			other = y.MapIndex(reflect.ValueOf(strings.ReplaceAll(k.String(), harmlessValue, val)).Convert(k.Type()))
		}
		if at := differ(x.MapIndex(k), other, val, path+"."+k.String()); at != "" {
			return at
		}
	}
	return ""
}

var nameOfItem = regexp.MustCompile(`\.Items\[\d+\]\.Name$|\.Secrets\[\d+\]\.(File)?Env$`)

// plainly forgets what some fields do to texts: they are trimmed, in lower or upper case.
func plainly(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// sameWords compares lists of names, whatever their order and division.
func sameWords(a, b reflect.Value, val string) bool {
	words := func(list reflect.Value, replace bool) []string {
		out := []string{}
		for i := range list.Len() {
			if list.Index(i).Kind() != reflect.String {
				return nil
			}
			text := list.Index(i).String()
			if replace {
				text = strings.ReplaceAll(text, harmlessValue, val)
			}
			for word := range strings.SplitSeq(text, ",") {
				if word = plainly(word); word != "" && !slices.Contains(out, word) {
					out = append(out, word)
				}
			}
		}
		slices.Sort(out)
		return out
	}
	x, y := words(a, true), words(b, false)
	return x != nil && slices.Equal(x, y)
}

// TestValuesCannotChangeAnything writes a template in every place of the language where text stands, in several ways, and
// renders it with values that try to be more than text. What comes out is what a harmless value gives, with the value in
// its place, or it is refused.
func TestValuesCannotChangeAnything(t *testing.T) {
	places, taken, refused := 0, 0, 0
	long := strings.Repeat("0123456789abcde\n", 1<<16)
	for name, text := range everyPosition() {
		positions(t, text, func(where, src string) {
			where = name + where
			places++
			def, _, err := Parse("f", []byte(src))
			if err != nil {
				properlyRefused(t, where, err, "")
				refused++
				return
			}
			want, wantErr := outcome(def, harmlessValue)
			values := hostileValues()
			plain := strings.HasSuffix(where, `"`+placeOfValue+`" 0`)
			if !plain {
				values = values[:tryAllWays]
			}
			if wantErr == nil && plain {
				values = append(values, long)
			}
			for _, val := range values {
				got, err := outcome(def, val)
				if err != nil {
					refused++
					if !properlyRefused(t, where, err, val) {
						return
					}
					continue
				}
				taken++
				if strings.Contains(val, "true") && isCondition(where) {
					continue // it holds when it renders true
				}
				if wantErr != nil {
					t.Errorf("%s: %.20q is accepted, %q is not: %v", where, val, harmlessValue, wantErr)
					continue
				}
				if at := differ(reflect.ValueOf(want), reflect.ValueOf(got), val, ""); at != "" {
					t.Errorf("%s with %.20q differs at %s", where, val, at)
					return
				}
			}
		})
	}
	t.Logf("%d places: %d renderings, %d refusals", places, taken, refused)
	if places < 1000 || taken < 2000 {
		t.Errorf("%d places, %d renderings", places, taken)
	}
}

func isCondition(where string) bool {
	return strings.Contains(where, ".skip_if as") || strings.Contains(where, ".when as") || strings.Contains(where, ".except as")
}

// properlyRefused checks that an error is told as problems with places, and without values.
func properlyRefused(t *testing.T, where string, err error, val string) bool {
	t.Helper()
	var ps source.Problems
	if !errors.As(err, &ps) {
		t.Errorf("%s: no problems: %v", where, err)
		return false
	}
	text := err.Error()
	for _, p := range ps {
		if p.Code == "" || p.Line == 0 {
			t.Errorf("%s: no place: %s", where, p)
			return false
		}
	}
	if strings.Contains(text, leaked) || strings.Contains(text, source.TokenPrefix) || len(val) > 4 && strings.Contains(text, val) {
		t.Errorf("%s: a value is shown: %.300s", where, text)
		return false
	}
	return true
}
