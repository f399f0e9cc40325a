package jobspec

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/notify"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schedule"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/trigger"
	"github.com/formicary/formicary/libs/jobspec/value"
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
	maxPlatform = 100
)

// draft is what the reading of a job gives. Next to the plan it holds what the checks need.
type draft struct {
	plan           plan.Plan
	description    string
	semVersion     string
	url            string
	disabled       bool
	publicPlugin   bool
	blank          bool // undefined_variables: empty
	schedules      []schedule.Schedule
	triggers       []trigger.Trigger
	retention      schedule.Retention
	params         []param.Param
	requiredParams []string
	tasks          []taskDraft
	needed         []read.Needed // what must be known when the job starts
	// settled says that nothing which decides the placement of the first tasks depends on variables.
	settled bool
	// audience is what of the plan's Notify and Webhook is written out.
	audience plan.Audience
}

// job reads a whole definition.
func (r *reader) job(root *source.Node) *draft {
	d := &draft{settled: !r.Shape.Guessed, retention: schedule.DefaultRetention()}
	d.plan = plan.Plan{
		Timeout: defaultJobTimeout, CleanupTimeout: defaultCleanupTimeout, Grace: defaultGrace, PauseTime: defaultPauseTime,
		Priority: defaultPriority, HardResetAfterRetries: defaultHardReset,
	}
	if root.Kind != source.Map {
		r.Fault(root, source.CodeInvalidType, "the definition is "+root.Kind.String(), "a mapping with job_type and tasks")
		return d
	}
	waits := waitsOf(defaultJobDelay)
	r.Final(func() {
		for i := range root.Pairs {
			r.jobField(d, &waits, root, &root.Pairs[i])
		}
	})
	d.plan.Backoff = r.backoff(&waits)
	if root.Get("job_type") == nil {
		r.Fault(root, source.CodeMissingField, "the field job_type is missing", "the name of the job")
	}
	r.checkJob(d, root)
	if r.Checking {
		schema.Check(r.Reader, root, "job", "")
	}
	r.tasks(d, root)
	d.needed = r.Needed
	return d
}

func (r *reader) jobField(d *draft, waits *waits, root *source.Node, p *source.Pair) {
	n, plan := p.Value, &d.plan
	switch r.Misspelled(p, root, "job") {
	case "job_type":
		plan.JobType = r.Literal(n, "job_type", value.MaxName)
		if !n.Templated && !read.ValidTaskName(plan.JobType) {
			r.Fault(n, source.CodeInvalidName, r.Show(n)+" cannot name a job", read.ExpectedName)
		}
	case "description":
		d.description = r.LongText(n, "description", read.MaxDescription)
	case "sem_version":
		d.semVersion = r.Literal(n, "sem_version", value.MaxName)
		if v, ok := template.ParseVersion(d.semVersion); ok {
			d.semVersion = v.String() // 1, 1.0 and v1.0.0 are 1.0.0
		} else if d.semVersion != "" {
			r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no version", "a version such as 1.2, 1.2.3 or 1.2.3-rc1")
		}
	case "url":
		d.url = r.LongText(n, "url", read.MaxURL)
	case "undefined_variables":
		d.blank = r.UndefinedVariables(n)
	case "version", "tags", "methods", "tasks":
		// Informational or derived; tasks are read last, when the defaults are known.
	case "disabled":
		d.disabled = r.LiteralFlag(n, "disabled")
	case "timeout":
		plan.Timeout = r.Positive(n, plan.Timeout)
	case "timeouts":
		r.jobTimeouts(plan, n, p)
		if pending := n.Get("pending"); pending != nil && pending.Templated {
			d.settled = false
		}
	case "retry":
		plan.Retry, plan.RetryGiven = r.Integer(n, 0, schema.MaxRetry)
	case "delay_between_retries", "retry_backoff_policy", "backoff":
		waits.set(r, p)
	case "max_concurrency":
		plan.MaxConcurrency = r.LiteralInt(n, "max_concurrency", schedule.MaxConcurrency)
	case "priority":
		plan.Priority = r.LiteralInt(n, "priority", 100)
	case "fail_fast":
		plan.FailFast = r.Flag(n)
	case "cleanup_timeout":
		plan.CleanupTimeout = r.Positive(n, plan.CleanupTimeout)
	case "pause_time":
		plan.PauseTime = r.Duration(n)
	case "job_variables", "variables", "configs":
		if r.Checking || r.Program == nil { // else they were read before the rest
			r.Variables(n)
		}
	case "params":
		d.params = param.Read(r.Reader, n)
	case "required_params":
		d.requiredParams = param.Required(r.Reader, n)
	case "skip_if":
		plan.Skip = r.Condition(n, "skip_if")
	case "dynamic_template_tasks":
		r.Flag(n) // every definition may make its tasks by a template
	default:
		if !strings.HasPrefix(p.Key, schema.HiddenKey) && !r.jobStanding(d, p) && !r.jobReach(d, p) {
			r.UnknownIn(p, "the job", schema.Job, "a task", schema.Task)
		}
	}
}

// jobStanding reads the fields about when a job is started and how long it is kept.
func (r *reader) jobStanding(d *draft, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "cron_trigger":
		if cron := schedule.Cron(r.Reader, n); cron != "" {
			d.schedules = append(d.schedules, schedule.Schedule{Cron: cron, Timezone: "UTC", Overlap: schedule.OverlapQueue, CatchUp: schedule.CatchUpNone})
		}
	case "schedule":
		d.schedules = append(d.schedules, schedule.Read(r.Reader, n)...)
	case "triggers":
		if r.Checking || r.Program == nil { // their templates are over events
			d.triggers = trigger.Read(r.Reader, n)
		}
	case "retention_days_for_failed":
		d.retention.Failed = r.LiteralInt(n, p.Key, read.MaxRetention)
	case "retention_days_for_completed":
		d.retention.Completed = r.LiteralInt(n, p.Key, read.MaxRetention)
	case "retention_days_for_cancelled":
		d.retention.Cancelled = r.LiteralInt(n, p.Key, read.MaxRetention)
	case "public_plugin":
		d.publicPlugin = r.LiteralFlag(n, p.Key)
	case "hard_reset_after_retries":
		d.plan.HardResetAfterRetries, _ = r.Integer(n, 0, schema.MaxRetry)
	default:
		return false
	}
	return true
}

// jobReach reads the fields about what a run needs and whom it tells. No task can give their values.
func (r *reader) jobReach(d *draft, p *source.Pair) bool {
	unset := len(r.Unset)
	defer func() {
		for i := unset; i < len(r.Unset); i++ {
			template.AddFault(r.Collector, r.Source, &r.Unset[i])
		}
	}()
	n, plan := p.Value, &d.plan
	if r.Checking {
		n.EachScalar(func(n *source.Node) { r.UnknownNow(n, false) })
	}
	switch p.Key {
	case "platform":
		if plan.Platform = r.Short(n); len(plan.Platform) > maxPlatform {
			r.Fault(n, source.CodeInvalidValue, "the platform is too long", "at most "+value.Text(maxPlatform)+" bytes")
		}
	case "webhook":
		if plan.Webhook = notify.Webhook(r.Reader, p); writtenOut(n) {
			d.audience.Webhook = plan.Webhook
		}
	case "notify":
		if plan.Notify = notify.Read(r.Reader, p); writtenOut(n) {
			d.audience.Notify = plan.Notify
		}
	case "resources":
		plan.Resources = r.resources(n)
	case "concurrency":
		plan.Concurrency = schedule.Concurrency(r.Reader, p)
	case "deadline":
		plan.Deadline = schedule.Deadline(r.Reader, n)
	default:
		return false
	}
	return true
}

// checkJob checks what fields of a job say together.
func (r *reader) checkJob(d *draft, root *source.Node) {
	if c := d.plan.Concurrency; c != nil {
		at := root.Get("concurrency")
		if given := root.Get("max_concurrency"); given != nil && d.plan.MaxConcurrency != c.Limit {
			r.Fault(at, source.CodeConflict, "max_concurrency and concurrency.limit differ", "one of them")
		}
		d.plan.MaxConcurrency = c.Limit
	}
	r.MergedVariables(root)
	if !d.publicPlugin {
		return
	}
	at := root.Get("public_plugin")
	if d.semVersion == "" {
		r.Fault(at, source.CodeMissingField, "a public plugin has no sem_version", "sem_version, such as 1.2.3")
	}
	if !isReverseDNS(d.plan.JobType) {
		r.Fault(at, source.CodeInvalidName, "the job_type of a public plugin is no name in reverse-DNS style", "three or more parts with dots between, such as io.example.build")
	}
}

func isReverseDNS(name string) bool {
	parts := strings.Split(name, ".")
	return len(parts) >= 3 && !slices.Contains(parts, "")
}

// jobVariables reads the variables of all tasks: configs below job_variables, which can be called variables too.
func (r *reader) jobVariables(root *source.Node) value.Vars {
	out := value.Vars{}
	for _, key := range [...]string{"configs", "variables", "job_variables"} {
		if n := root.Get(key); n != nil {
			maps.Copy(out, r.Variables(n))
		}
	}
	return out
}

func hasJobVariables(root *source.Node) bool {
	return root.Get("job_variables") != nil || root.Get("variables") != nil || root.Get("configs") != nil
}

func (r *reader) jobTimeouts(plan *plan.Plan, n *source.Node, at *source.Pair) {
	r.Mapping(n, func(p *source.Pair) {
		switch p.Key {
		case "pending":
			plan.PendingTimeout = r.Duration(p.Value)
		case "run":
			if r.Shape.Root.Get("timeout") != nil {
				r.Add(p.Line, p.Column, source.CodeConflict, "timeout and timeouts.run are both given", "one of them")
			}
			plan.Timeout = r.Positive(p.Value, plan.Timeout)
		case "grace":
			plan.Grace = r.Duration(p.Value)
		case "total":
			plan.TotalTimeout = r.Duration(p.Value)
		default:
			r.Unknown(p, schema.Timeouts)
		}
	}, at)
}

// waits gathers the fields about delays between attempts.
type waits struct {
	delay                    time.Duration
	policy                   *source.Pair
	given                    bool
	min, max                 time.Duration
	factor                   float64
	jitter, hasMin, hasDelay bool
}

func waitsOf(delay time.Duration) waits { return waits{delay: delay} }

func (w *waits) set(r *reader, p *source.Pair) {
	if p.Key == "delay_between_retries" || p.Key == "delay" {
		w.delay, w.hasDelay = r.Duration(p.Value), true
		return
	}
	if w.policy != nil {
		r.Add(p.Line, p.Column, source.CodeConflict, w.policy.Key+" and "+p.Key+" are both given", "one of them")
	}
	w.policy, w.factor = p, 2
	r.Mapping(p.Value, func(f *source.Pair) {
		w.given = true
		switch f.Key {
		case "min":
			w.min, w.hasMin = r.Duration(f.Value), true
		case "max":
			w.max = r.Duration(f.Value)
		case "factor":
			w.factor = r.Number(f.Value, 1, 1000)
		case "jitter":
			w.jitter = r.Flag(f.Value)
		default:
			r.Unknown(f, schema.Backoff)
		}
	}, p)
}

// backoff combines the fields: a policy goes before the constant delay, which without being given is spread.
func (r *reader) backoff(w *waits) plan.Backoff {
	if !w.given {
		return plan.Backoff{Delay: w.delay, Jitter: !w.hasDelay}
	}
	b := plan.Backoff{Min: w.min, Max: w.max, Factor: w.factor, Jitter: w.jitter}
	if !w.hasMin {
		b.Min = w.delay
	}
	if b.Max > 0 && b.Max < b.Min {
		r.Add(w.policy.Line, w.policy.Column, source.CodeInvalidValue, "max is below min", "max of at least min, or none")
	}
	return b
}

// writtenOut says that no template takes part in n.
func writtenOut(n *source.Node) bool {
	if n.Templated || n.Keyed {
		return false
	}
	for _, item := range n.Items {
		if !writtenOut(item) {
			return false
		}
	}
	for i := range n.Pairs {
		if !writtenOut(n.Pairs[i].Value) {
			return false
		}
	}
	return true
}
