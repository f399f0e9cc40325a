package jobspec

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Defaults of a job.
const (
	defaultJobTimeout     = 2 * time.Hour
	defaultTaskTimeout    = time.Hour
	defaultCleanupTimeout = 5 * time.Minute
	defaultGrace          = 10 * time.Second
	defaultPauseTime      = 30 * time.Second
	defaultPriority       = 50
	defaultJobDelay       = 5 * time.Second
	defaultTaskDelay      = time.Second
	defaultHardReset      = 3
)

// Bounds of a job.
const (
	maxTasks       = 10_000
	maxRetry       = 1_000
	maxConcurrency = 100_000
	maxParams      = 1_000
	maxDescription = 4_000
	maxURL         = 2_000
	maxPlatform    = 100
)

// hiddenKey begins the keys of a definition that are for people and for anchors: nothing reads them.
const hiddenKey = "x-"

// draft is what the reading of a job gives. Next to the plan it holds what the checks need.
type draft struct {
	plan           Plan
	description    string
	semVersion     string
	url            string
	disabled       bool
	publicPlugin   bool
	blank          bool // undefined_variables: empty
	schedules      []Schedule
	triggers       []Trigger
	retention      Retention
	params         []Param
	requiredParams []string
	tasks          []taskDraft
	needed         []needed // what must be known when the job starts
	// settled says that nothing which decides the placement of the first tasks depends on variables.
	settled bool
	// audience is what of the plan's Notify and Webhook is written out.
	audience Audience
}

// job reads a whole definition.
func (r *reader) job(root *node) *draft {
	d := &draft{settled: !r.shape.guessed, retention: DefaultRetention()}
	d.plan = Plan{
		Timeout: defaultJobTimeout, CleanupTimeout: defaultCleanupTimeout, Grace: defaultGrace, PauseTime: defaultPauseTime,
		Priority: defaultPriority, HardResetAfterRetries: defaultHardReset,
	}
	if root.kind != nodeMap {
		r.fault(root, CodeInvalidType, "the definition is "+root.kind.String(), "a mapping with job_type and tasks")
		return d
	}
	waits := waitsOf(defaultJobDelay)
	r.final(func() {
		for i := range root.pairs {
			r.jobField(d, &waits, root, &root.pairs[i])
		}
	})
	d.plan.Backoff = r.backoff(&waits)
	if root.get("job_type") == nil {
		r.fault(root, CodeMissingField, "the field job_type is missing", "the name of the job")
	}
	r.checkJob(d, root)
	if r.checking {
		r.checkActs(root, "job", "")
	}
	r.tasks(d, root)
	d.needed = r.needed
	return d
}

func (r *reader) jobField(d *draft, waits *waits, root *node, p *pair) {
	n, plan := p.value, &d.plan
	switch r.misspelled(p, root, "job") {
	case "job_type":
		plan.JobType = r.literal(n, "job_type", maxName)
		if !n.templated && !validTaskName(plan.JobType) {
			r.fault(n, CodeInvalidName, r.show(n)+" cannot name a job", expectedName)
		}
	case "description":
		d.description = r.longText(n, "description", maxDescription)
	case "sem_version":
		d.semVersion = r.literal(n, "sem_version", maxName)
		if v, ok := parseVersion(d.semVersion); ok {
			d.semVersion = v.String() // 1, 1.0 and v1.0.0 are 1.0.0
		} else if d.semVersion != "" {
			r.fault(n, CodeInvalidValue, r.show(n)+" is no version", "a version such as 1.2, 1.2.3 or 1.2.3-rc1")
		}
	case "url":
		d.url = r.longText(n, "url", maxURL)
	case "undefined_variables":
		d.blank = r.undefinedVariables(n)
	case "version", "tags", "methods", "tasks":
		// Informational or derived; tasks are read last, when the defaults are known.
	case "disabled":
		d.disabled = r.literalFlag(n, "disabled")
	case "timeout":
		plan.Timeout = r.positive(n, plan.Timeout)
	case "timeouts":
		r.jobTimeouts(plan, n, p)
		if pending := n.get("pending"); pending != nil && pending.templated {
			d.settled = false
		}
	case "retry":
		plan.Retry, plan.RetryGiven = r.integer(n, 0, maxRetry)
	case "delay_between_retries", "retry_backoff_policy", "backoff":
		waits.set(r, p)
	case "max_concurrency":
		plan.MaxConcurrency = r.literalInt(n, "max_concurrency", maxConcurrency)
	case "priority":
		plan.Priority = r.literalInt(n, "priority", 100)
	case "fail_fast":
		plan.FailFast = r.boolean(n)
	case "cleanup_timeout":
		plan.CleanupTimeout = r.positive(n, plan.CleanupTimeout)
	case "pause_time":
		plan.PauseTime = r.duration(n)
	case "job_variables", "variables", "configs":
		if r.checking || r.p == nil { // else they were read before the rest
			r.variables(n)
		}
	case "params":
		d.params = r.params(n)
	case "required_params":
		d.requiredParams = r.requiredParams(n)
	case "skip_if":
		plan.Skip = r.condition(n, "skip_if")
	case "dynamic_template_tasks":
		r.boolean(n) // every definition may make its tasks by a template
	default:
		if !strings.HasPrefix(p.key, hiddenKey) && !r.jobStanding(d, p) && !r.jobReach(d, p) {
			r.unknown(p, jobTable)
		}
	}
}

// jobStanding reads the fields about when a job is started and how long it is kept.
func (r *reader) jobStanding(d *draft, p *pair) bool {
	n := p.value
	switch p.key {
	case "cron_trigger":
		if cron := r.cron(n); cron != "" {
			d.schedules = append(d.schedules, Schedule{Cron: cron, Timezone: "UTC", Overlap: OverlapQueue, CatchUp: CatchUpNone})
		}
	case "schedule":
		d.schedules = append(d.schedules, r.schedules(n)...)
	case "triggers":
		if r.checking || r.p == nil { // their templates are over events
			d.triggers = r.triggers(n)
		}
	case "retention_days_for_failed":
		d.retention.Failed = r.literalInt(n, p.key, maxRetention)
	case "retention_days_for_completed":
		d.retention.Completed = r.literalInt(n, p.key, maxRetention)
	case "retention_days_for_cancelled":
		d.retention.Cancelled = r.literalInt(n, p.key, maxRetention)
	case "public_plugin":
		d.publicPlugin = r.literalFlag(n, p.key)
	case "hard_reset_after_retries":
		d.plan.HardResetAfterRetries, _ = r.integer(n, 0, maxRetry)
	default:
		return false
	}
	return true
}

// jobReach reads the fields about what a run needs and whom it tells. No task can give their values.
func (r *reader) jobReach(d *draft, p *pair) bool {
	unset := len(r.unset)
	defer func() {
		for i := unset; i < len(r.unset); i++ {
			addFault(r.c, r.src, &r.unset[i])
		}
	}()
	n, plan := p.value, &d.plan
	if r.checking {
		scalars(n, func(n *node) { r.unknownNow(n, false) })
	}
	switch p.key {
	case "platform":
		if plan.Platform = r.short(n); len(plan.Platform) > maxPlatform {
			r.fault(n, CodeInvalidValue, "the platform is too long", "at most "+textOf(maxPlatform)+" bytes")
		}
	case "webhook":
		if plan.Webhook = r.webhook(p); writtenOut(n) {
			d.audience.Webhook = plan.Webhook
		}
	case "notify":
		if plan.Notify = r.notifications(p); writtenOut(n) {
			d.audience.Notify = plan.Notify
		}
	case "resources":
		plan.Resources = r.resources(n)
	case "concurrency":
		plan.Concurrency = r.concurrency(p)
	case "deadline":
		plan.Deadline = r.deadline(n)
	default:
		return false
	}
	return true
}

// checkJob checks what fields of a job say together.
func (r *reader) checkJob(d *draft, root *node) {
	if c := d.plan.Concurrency; c != nil {
		at := root.get("concurrency")
		if given := root.get("max_concurrency"); given != nil && d.plan.MaxConcurrency != c.Limit {
			r.fault(at, CodeConflict, "max_concurrency and concurrency.limit differ", "one of them")
		}
		d.plan.MaxConcurrency = c.Limit
	}
	r.mergedVariables(root)
	if !d.publicPlugin {
		return
	}
	at := root.get("public_plugin")
	if d.semVersion == "" {
		r.fault(at, CodeMissingField, "a public plugin has no sem_version", "sem_version, such as 1.2.3")
	}
	if !isReverseDNS(d.plan.JobType) {
		r.fault(at, CodeInvalidName, "the job_type of a public plugin is no name in reverse-DNS style", "three or more parts with dots between, such as io.example.build")
	}
}

func isReverseDNS(name string) bool {
	parts := strings.Split(name, ".")
	return len(parts) >= 3 && !slices.Contains(parts, "")
}

// jobVariables reads the variables of all tasks: configs below job_variables, which can be called variables too.
func (r *reader) jobVariables(root *node) Vars {
	out := Vars{}
	for _, key := range [...]string{"configs", "variables", "job_variables"} {
		if n := root.get(key); n != nil {
			maps.Copy(out, r.variables(n))
		}
	}
	return out
}

func hasJobVariables(root *node) bool {
	return root.get("job_variables") != nil || root.get("variables") != nil || root.get("configs") != nil
}

// longText reads text that people read; what is not known in it shows as written.
func (r *reader) longText(n *node, field string, longest int) string {
	text, known := r.text(n)
	if known && len(text) > longest {
		r.fault(n, CodeInvalidValue, "the "+field+" is too long", "at most "+textOf(longest)+" bytes")
		return ""
	}
	return text
}

func (r *reader) literalInt(n *node, field string, high int) int {
	if n.templated {
		r.literal(n, field, maxName)
		return 0
	}
	i, _ := r.integer(n, 0, high)
	return i
}

func (r *reader) literalFlag(n *node, field string) bool {
	if n.templated {
		r.literal(n, field, maxName)
		return false
	}
	return r.boolean(n)
}

// positive reads a duration that replaces a default. Nothing may run for 0 seconds.
func (r *reader) positive(n *node, otherwise time.Duration) time.Duration {
	if n.kind == nodeNull {
		return otherwise
	}
	before := len(r.c.list)
	d := r.duration(n)
	if d == 0 {
		if text, known := r.text(n); known && len(r.c.list) == before && !r.nothing(n, text) {
			r.fault(n, CodeInvalidValue, "a timeout of nothing", "a duration above 0")
		}
		return otherwise
	}
	return d
}

func (r *reader) jobTimeouts(plan *Plan, n *node, at *pair) {
	r.mapping(n, func(p *pair) {
		switch p.key {
		case "pending":
			plan.PendingTimeout = r.duration(p.value)
		case "run":
			if r.shape.root.get("timeout") != nil {
				r.add(p.line, p.column, CodeConflict, "timeout and timeouts.run are both given", "one of them")
			}
			plan.Timeout = r.positive(p.value, plan.Timeout)
		case "grace":
			plan.Grace = r.duration(p.value)
		case "total":
			plan.TotalTimeout = r.duration(p.value)
		default:
			r.unknown(p, timeoutFields)
		}
	}, at)
}

// mapping calls back for each key of a mapping.
func (r *reader) mapping(n *node, field func(p *pair), at *pair) {
	switch n.kind {
	case nodeNull:
	case nodeMap:
		for i := range n.pairs {
			field(&n.pairs[i])
		}
	default:
		r.fault(n, CodeInvalidType, at.key+" is "+n.kind.String(), "a mapping")
	}
}

// waits gathers the fields about delays between attempts.
type waits struct {
	delay                    time.Duration
	policy                   *pair
	given                    bool
	min, max                 time.Duration
	factor                   float64
	jitter, hasMin, hasDelay bool
}

func waitsOf(delay time.Duration) waits { return waits{delay: delay} }

func (w *waits) set(r *reader, p *pair) {
	if p.key == "delay_between_retries" || p.key == "delay" {
		w.delay, w.hasDelay = r.duration(p.value), true
		return
	}
	if w.policy != nil {
		r.add(p.line, p.column, CodeConflict, w.policy.key+" and "+p.key+" are both given", "one of them")
	}
	w.policy, w.factor = p, 2
	r.mapping(p.value, func(f *pair) {
		w.given = true
		switch f.key {
		case "min":
			w.min, w.hasMin = r.duration(f.value), true
		case "max":
			w.max = r.duration(f.value)
		case "factor":
			w.factor = r.number(f.value, 1, 1000)
		case "jitter":
			w.jitter = r.boolean(f.value)
		default:
			r.unknown(f, backoffFields)
		}
	}, p)
}

// backoff combines the fields: a policy goes before the constant delay, which without being given is spread.
func (r *reader) backoff(w *waits) Backoff {
	if !w.given {
		return Backoff{Delay: w.delay, Jitter: !w.hasDelay}
	}
	b := Backoff{Min: w.min, Max: w.max, Factor: w.factor, Jitter: w.jitter}
	if !w.hasMin {
		b.Min = w.delay
	}
	if b.Max > 0 && b.Max < b.Min {
		r.add(w.policy.line, w.policy.column, CodeInvalidValue, "max is below min", "max of at least min, or none")
	}
	return b
}
