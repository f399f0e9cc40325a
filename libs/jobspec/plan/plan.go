package plan

import (
	"sort"
	"time"

	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
)

// Plan is what one run of a job does: the definition rendered with the request's variables. It is never changed by a
// later edit of the definition. Plans may share memory with their definition: read only.
type Plan struct {
	// JobType that it was rendered from.
	JobType string `json:"job_type"`
	// Skip says that skip_if holds: the run ends as SKIPPED.
	Skip bool `json:"skip,omitempty"`
	// Timeout of the whole run, counted from its start.
	Timeout time.Duration `json:"timeout"`
	// PendingTimeout bounds the wait before the run starts; 0 means no bound.
	PendingTimeout time.Duration `json:"pending_timeout,omitempty"`
	// CleanupTimeout bounds the always_run tasks after a failure, timeout or cancel.
	CleanupTimeout time.Duration `json:"cleanup_timeout"`
	// Grace between TERM and KILL for tasks that name none.
	Grace time.Duration `json:"grace"`
	// FailFast cancels what runs when a task fails the job.
	FailFast bool `json:"fail_fast,omitempty"`
	// Retry is how often the job is started again after a failure; Backoff is the delay before it.
	Retry   int     `json:"retry,omitempty"`
	Backoff Backoff `json:"backoff"`
	// RetryGiven says that Retry was written, so that it bounds RESTART_JOB: see Restarts.
	RetryGiven bool `json:"retry_given,omitempty"`
	// HardResetAfterRetries is after how many retries of the job completed tasks are no longer kept; 0 means never.
	HardResetAfterRetries int `json:"hard_reset_after_retries,omitempty"`
	// TotalTimeout bounds all runs of the job together, waits included; 0 means no bound.
	TotalTimeout time.Duration `json:"total_timeout,omitempty"`
	// Notify says who hears of the outcome, Webhook what is called at each change of state.
	Notify  []Notify `json:"notify,omitempty"`
	Webhook *Webhook `json:"webhook,omitempty"`
	// Concurrency is what MaxConcurrency is a part of; nil when only that is given. Resources and Deadline are what the
	// run needs and its goal. Of these only the limit is acted on yet.
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	Resources   []Resource   `json:"resources,omitempty"`
	Deadline    *Deadline    `json:"deadline,omitempty"`
	// Platform is a label that error rules can ask for.
	Platform string `json:"platform,omitempty"`
	// PauseTime is how long a paused job waits before it resumes by itself.
	PauseTime time.Duration `json:"pause_time"`
	// MaxConcurrency of the job type; 0 means no limit.
	MaxConcurrency int `json:"max_concurrency,omitempty"`
	// Priority 0 to 100.
	Priority int `json:"priority"`
	// Tasks in the order of the text.
	Tasks []Task `json:"tasks"`
	// Vars are the variables of the rendering (job variables below those of the caller, without secrets). They are not
	// part of the JSON: they are stored beside it.
	Vars value.Vars `json:"-"`
}

// StartClasses returns the distinct placement classes of the tasks that start at once, sorted by their text.
func (p *Plan) StartClasses() []placement.Class {
	return startClasses(p.Tasks)
}

// Task is one step of a plan.
type Task struct {
	// Name is unique in the plan.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Method, Tags (lower case, sorted) and Slots decide which ant may execute it.
	Method string   `json:"method"`
	Tags   []string `json:"tags,omitempty"`
	Slots  int      `json:"slots"`
	// Timeout of one attempt, which of a task without an ant is one child, one wait for approval; 0 means no bound. Grace
	// between TERM and KILL.
	Timeout time.Duration `json:"timeout"`
	// WaitBounded says that Timeout holds for what the task waits for without an ant. Plans of older versions have a Timeout
	// there that nobody wrote.
	WaitBounded bool          `json:"wait_bounded,omitempty"`
	Grace       time.Duration `json:"grace"`
	// PendingTimeout bounds the wait for an ant, TotalTimeout all attempts together; 0 means no bound.
	PendingTimeout time.Duration `json:"pending_timeout,omitempty"`
	TotalTimeout   time.Duration `json:"total_timeout,omitempty"`
	// Retry is how many further attempts a failed one gets; Backoff is the delay between them, and between the polls of
	// a sensor (action EXECUTING).
	Retry   int     `json:"retry,omitempty"`
	Backoff Backoff `json:"backoff"`
	// RetryGiven says that Retry was written, so that it bounds RESTART_TASK: see Restarts.
	RetryGiven bool `json:"retry_given,omitempty"`
	// AllowFailure keeps a failure from failing the job; the flow then follows on_completed.
	AllowFailure bool `json:"allow_failure,omitempty"`
	// AllowDecided says that AllowFailure is known only when the task is about to start; of a fan-out, maybe of each item.
	AllowDecided bool `json:"allow_decided,omitempty"`
	// AlwaysRun marks clean-up that runs whatever the outcome of the job.
	AlwaysRun bool `json:"always_run,omitempty"`
	// AllowStartIfCompleted runs it again in a restarted job even if it completed before.
	AllowStartIfCompleted bool `json:"allow_start_if_completed,omitempty"`
	// AtMostOnce ends the task as LOST when its attempt is lost, instead of running it again.
	AtMostOnce bool `json:"at_most_once,omitempty"`
	// ReportStdout puts the beginning of the output into the result.
	ReportStdout bool `json:"report_stdout,omitempty"`
	// Skip says that `except` holds: the task is COMPLETED at once with exit code SKIPPED.
	Skip bool `json:"skip,omitempty"`
	// DependsOn are the data edges: dependencies and depends_on. The task waits for all of them.
	DependsOn []string `json:"depends_on,omitempty"`
	// Requires are those of DependsOn that must be usable even where control edges lead to the task: depends_on.
	Requires []string `json:"requires,omitempty"`
	// Downloads are those of DependsOn whose artifacts it gets: dependencies. ArtifactIDs are further artifacts.
	Downloads   []string `json:"downloads,omitempty"`
	ArtifactIDs []string `json:"artifact_ids,omitempty"`
	// Decide says that Definition.Decide must be asked before the task starts, with what is known then.
	Decide bool `json:"decide,omitempty"`
	// When is a CEL expression that must hold, or the task is SKIPPED; empty: it holds.
	When string `json:"when,omitempty"`
	// ItemClass says that the placement of the items depends on the item: Method, Tags and Slots here are not complete.
	ItemClass bool `json:"item_class,omitempty"`
	// FanOut runs the task once for each item (fan_out or matrix).
	FanOut *FanOut `json:"fan_out,omitempty"`
	// Fork is the job that FORK_JOB submits; of a task with FanOut each item does. Complete only after Decide.
	Fork *Fork `json:"fork,omitempty"`
	// Wait is how long a task of the method WAIT waits; 0: known only when it is about to start.
	Wait time.Duration `json:"wait,omitempty"`
	// AwaitForkedTasks are the FORK_JOB tasks whose jobs AWAIT_FORKED_JOB waits for.
	AwaitForkedTasks []string `json:"await_forked_tasks,omitempty"`
	// Approval is the policy of MANUAL, and of the action WAIT_FOR_APPROVAL (nil there: the defaults of Approval).
	Approval *Approval `json:"approval,omitempty"`
	// RetryOn says which failures are tried again; nil: all of them, out of Retry.
	RetryOn *RetryOn `json:"retry_on,omitempty"`
	// Outputs are declared ones: a task that completes without a required one, or with one of another type, fails.
	Outputs []Output `json:"outputs,omitempty"`
	// Secrets are delivered to this task only.
	Secrets []Secret `json:"secrets,omitempty"`
	// Webhook is called when the task ends.
	Webhook *Webhook `json:"webhook,omitempty"`
	// Resources that the task needs; nothing acts on them yet.
	Resources []Resource `json:"resources,omitempty"`
	// Routes are the control edges in the order in which Match tries them.
	Routes []Route `json:"routes,omitempty"`
	// Late says that the section uses values that only the claim knows: it must be rendered by Definition.Task then, and
	// the Spec here is not complete.
	Late bool `json:"late,omitempty"`
	// Uses are the variables that the section was rendered with, sorted, UsesAll among them when it goes through all of
	// them. See NeedsRender.
	Uses []string `json:"uses,omitempty"`
	// Exports are names such as NODE_OPTIONS that the definition itself declares, sorted: see Env.
	Exports []string `json:"exports,omitempty"`
	// Spec is what the ant executes.
	Spec Spec `json:"spec"`
}

// NeedsRender reports whether the claim must render the task again: it is Late, or an output of an earlier task
// replaces a variable that its section uses.
func (t *Task) NeedsRender(outputs map[string]any) bool {
	if t.Late {
		return true
	}
	for _, name := range t.Uses {
		if _, ok := outputs[name]; ok {
			return true
		}
	}
	return false
}

// Class returns what placement needs to know of the task.
func (t *Task) Class() placement.Class {
	return placement.Class{Method: t.Method, Tags: t.Tags, Slots: t.Slots}
}

// Spec is the executable part of a task.
type Spec struct {
	Method string `json:"method"`
	// Shell says that the scripts are for a shell (as opposed to HTTP methods).
	Shell bool `json:"shell,omitempty"`
	// BeforeScript, Script and AfterScript are lines of one shell session.
	BeforeScript []string `json:"before_script,omitempty"`
	Script       []string `json:"script,omitempty"`
	AfterScript  []string `json:"after_script,omitempty"`
	// Environment as declared; see Task.Env for the whole one.
	Environment map[string]string `json:"environment,omitempty"`
	// WorkingDir inside the attempt's own directory; empty means that directory.
	WorkingDir string `json:"working_dir,omitempty"`
	// URL, Headers and Query of HTTP methods.
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	// Variables declared by the task: the body of HTTP methods that have one.
	Variables map[string]any `json:"variables,omitempty"`
	// CPUMillis limits the processor in thousandths of a core, MemoryBytes the memory; 0 means no limit.
	CPUMillis   int64 `json:"cpu_millis,omitempty"`
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
	// LogLimit is how many bytes of its log are kept; 0 leaves it to the ant.
	LogLimit int64 `json:"log_limit,omitempty"`
	// ReportStdout as in Task.
	ReportStdout bool `json:"report_stdout,omitempty"`
	// RequestQueue and ReplyQueue are the NATS subjects of MESSAGING.
	RequestQueue string `json:"messaging_request_queue,omitempty"`
	ReplyQueue   string `json:"messaging_reply_queue,omitempty"`
	// Options of containers, pods, artifacts and the cache; nil when none is set.
	Options *Options `json:"options,omitempty"`
}

// Start is what the plan needs to start. The job waits no longer than it may itself, nor than one of its first tasks may.
func (p *Plan) Start() Start {
	s := Start{Classes: p.StartClasses(), Pending: p.PendingTimeout}
	waits := targeted(p.Tasks)
	for i := range p.Tasks {
		t := &p.Tasks[i]
		if !startsAtOnce(t, waits) || t.PendingTimeout == 0 {
			continue
		}
		if s.Pending == 0 || t.PendingTimeout < s.Pending {
			s.Pending = t.PendingTimeout
		}
	}
	return s
}

// foresees says that something follows from an outcome without a code.
func (t *Task) foresees(outcome string) bool {
	_, ok := t.Match(outcome, 0)
	return ok
}

// targeted are the tasks that routes lead to.
func targeted(tasks []Task) map[string]bool {
	waits := make(map[string]bool)
	for i := range tasks {
		for _, r := range tasks[i].Routes {
			for _, target := range r.Targets {
				waits[target] = true
			}
		}
	}
	return waits
}

// startsAtOnce says that an ant is wanted for the task as soon as the job starts, and that the job waits for that ant.
func startsAtOnce(t *Task, waits map[string]bool) bool {
	return !waits[t.Name] && len(t.DependsOn) == 0 && !t.AlwaysRun && !t.ItemClass && NeedsAnt(t.Method) && !t.dispensable()
}

// dispensable says that the definition foresees that no ant takes the task in time. What follows then needs the launch, so
// the job does not wait for the ant before.
func (t *Task) dispensable() bool {
	return t.PendingTimeout > 0 && (t.AllowFailure || t.AllowDecided || t.foresees(OutcomeTimedOut))
}

// startClasses are the classes of the tasks without incoming edges that ants execute; trailing clean-up does not start at
// once, and neither do the items of a fan-out whose placement is not known yet.
func startClasses(tasks []Task) []placement.Class {
	waits := targeted(tasks)
	seen := make(map[string]bool)
	var classes []placement.Class
	for i := range tasks {
		t := &tasks[i]
		if !startsAtOnce(t, waits) {
			continue
		}
		if c := t.Class(); !seen[c.String()] {
			seen[c.String()] = true
			classes = append(classes, c)
		}
	}
	sort.Slice(classes, func(i, j int) bool { return classes[i].String() < classes[j].String() })
	return classes
}

// Start is what a job needs to start.
type Start struct {
	// Classes are the placement classes of the tasks that start at once.
	Classes []placement.Class
	// Pending is how long it may wait for that; 0 means no bound.
	Pending time.Duration
}
