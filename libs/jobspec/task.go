package jobspec

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/fanout"
	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/graph"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of a task.
const (
	maxTags    = 32
	maxTargets = 10_000
	maxHeaders = 200
)

// taskDraft is a task with what the checks of the graph need.
type taskDraft struct {
	task plan.Task
	node *source.Node // its name, or the task
	// named says that the name is known; shown is the name for messages, without values of variables.
	named bool
	shown string
	edges []graph.Edge
	// unset are variables that are neither set nor an output of a task before this one, if there is none.
	unset []template.Fault
	// settled says that what decides its placement depends on no variable.
	settled bool
	// methodKnown says that the method is.
	methodKnown bool
	flow        flowDraft
	refs        []read.TaskRef // tasks that conditions name
	awaits      []read.TaskRef // tasks whose jobs are waited for
}

// tasks reads the list of tasks.
func (r *reader) tasks(d *draft, root *source.Node) {
	list := root.Get("tasks")
	switch {
	case list == nil || list.Kind == source.Null || list.Kind == source.List && len(list.Items) == 0:
		at := root
		if list != nil {
			at = list
		}
		r.Fault(at, source.CodeMissingField, "the job has no tasks", "a list of tasks")
		return
	case list.Kind != source.List:
		r.Fault(list, source.CodeInvalidType, "tasks is "+list.Kind.String(), "a list of tasks")
		return
	case len(list.Items) > schema.MaxTasks:
		r.Fault(list, source.CodeTooManyTasks, fmt.Sprintf("the job has %d tasks", len(list.Items)), fmt.Sprintf("at most %d", schema.MaxTasks))
		return
	}
	d.tasks = make([]taskDraft, 0, len(list.Items))
	d.plan.Tasks = make([]plan.Task, 0, len(list.Items))
	for i, n := range list.Items {
		d.tasks = append(d.tasks, r.task(n, r.extent(list, i), d.plan.Grace))
		t := &d.tasks[i]
		d.settled = d.settled && t.settled
		d.plan.Tasks = append(d.plan.Tasks, t.task)
		r.restarts(root, n, &t.task)
		r.checkWait(&d.plan, root, n, &t.task)
	}
}

// nodes are the tasks as the checks of the graph see them.
func (d *draft) nodes() []graph.Node {
	out := make([]graph.Node, len(d.tasks))
	for i := range d.tasks {
		t := &d.tasks[i]
		out[i] = graph.Node{
			Task: &t.task, At: t.node, Named: t.named, Shown: t.shown, Edges: t.edges, MethodKnown: t.methodKnown, Asked: t.refs, Awaited: t.awaits,
			ResultsOf: t.flow.resultsOf, ResultsAt: t.flow.resultsAt, ForkAt: t.flow.forkType, Late: t.flow.late,
		}
	}
	return out
}

// span is a part of the rendered text.
type span struct{ from, to int }

// extent is the part of the rendered text that the i-th task stands in.
func (r *reader) extent(list *source.Node, i int) span {
	if len(r.Shape.Reads) == 0 {
		return span{}
	}
	from := list.Items[i]
	s := span{r.Shape.Offset(from.Line, from.Column), len(r.Shape.Text)}
	if i+1 < len(list.Items) {
		s.to = r.Shape.Offset(list.Items[i+1].Line, list.Items[i+1].Column)
	}
	return s
}

// begin prepares for a task: from here on what is read belongs to it.
func (r *reader) begin(within span) {
	r.Reads, r.Late, r.Unset, r.Items, r.Moment.Refs = nil, false, nil, nil, nil
	reads := r.Shape.Reads
	for i := sort.Search(len(reads), func(i int) bool { return reads[i].Out >= within.from }); i < len(reads) && reads[i].Out < within.to; i++ {
		r.Note(reads[i].Name, nil)
	}
	r.Machine.Scope.Task, r.Machine.Scope.TaskType = nil, ""
	r.Machine.Scope.OnRead = r.Note
}

func (r *reader) end() {
	r.Machine.Scope.Task, r.Machine.Scope.Item, r.Machine.Scope.TaskType, r.Machine.Scope.OnRead = nil, nil, "", nil
	r.Machine.Scope.Secrets = nil
}

// task reads one task. Its name and its variables come first: the templates of the other fields see them.
func (r *reader) task(n *source.Node, within span, grace time.Duration) taskDraft {
	r.begin(within)
	defer r.end()
	t := taskDraft{node: n, settled: true, methodKnown: true}
	t.task = plan.Task{Method: plan.DefaultMethod, Slots: 1, Timeout: defaultTaskTimeout, Grace: grace}
	if n.Kind != source.Map {
		r.Fault(n, source.CodeInvalidType, "a task is "+n.Kind.String(), "a mapping with task_type")
		return t
	}
	r.taskName(&t, n)
	waits := waitsOf(defaultTaskDelay)
	fields := taskFieldReader{reader: r, t: &t, waits: &waits}
	fields.flow.itemNames = fanout.Variables(n)
	r.Items = fields.flow.itemNames
	fields.flow.whenBlocks, fields.flow.allowBlocks = r.itemBlocks(n, within, r.Items)
	t.task.AllowDecided = fields.flow.allowBlocks
	fanout.Hide(r.Reader, fields.flow.itemNames)
	r.showSecrets(n.Get("secrets"))
	for _, first := range [...]bool{true, false} {
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if isVariables := field.Misspelling("task", p.Key) == "variables"; isVariables == first {
				fields.read(p, n)
			}
		}
	}
	t.task.Backoff = r.backoff(&waits)
	fields.routes(n)
	fields.fanOut(n)
	fields.finish(n)
	fields.checkMethod(n)
	fields.limits(n)
	if r.Checking {
		method := t.task.Method
		if !t.methodKnown {
			method = ""
		}
		schema.Check(r.Reader, n, "task", method)
	}
	t.task.Spec.Method, t.task.Spec.Shell = t.task.Method, plan.IsScript(t.task.Method)
	t.task.Late, t.unset = r.Late, r.Unset
	for name := range t.task.Spec.Variables {
		r.Note(name, nil)
	}
	if len(r.Reads) > 0 {
		t.task.Uses = value.SortedKeys(r.Reads)
	}
	t.task.Exports = environ.WithTask(r.rendering.exports, t.task.Spec.Variables, fields.flow.itemNames)
	return t
}

func (r *reader) taskName(t *taskDraft, n *source.Node) {
	name := n.Get("task_type")
	if name == nil || name.Kind == source.Null {
		r.Fault(n, source.CodeMissingField, "the field task_type is missing", "the name of the task")
		return
	}
	t.node, t.shown = name, r.ShowName(name)
	t.task.Name, t.named = r.Planned(name)
	if !t.named {
		t.settled = false
		return
	}
	if !read.ValidTaskName(t.task.Name) || plan.IsAction(t.task.Name) {
		t.named = false
		r.Fault(name, source.CodeInvalidName, t.shown+" cannot name a task", read.ExpectedName+"; no name of an action")
	}
	r.Machine.Scope.TaskType = t.task.Name
}

// taskFieldReader reads the fields of one task.
type taskFieldReader struct {
	*reader
	t     *taskDraft
	waits *waits
	flow  flowDraft
}

// decisive notes whether a field that decides the placement is known without variables.
func (r *taskFieldReader) decisive(n *source.Node) {
	if !r.Checking || n.Kind == source.Null {
		return
	}
	mark := func(n *source.Node) {
		if n.Kind != source.Scalar || !n.Templated {
			return
		}
		if s, ok := r.Resolve(n); ok && !s.Known {
			r.t.settled = false
		}
	}
	mark(n)
	for _, item := range n.Items {
		mark(item)
	}
	for i := range n.Pairs {
		mark(n.Pairs[i].Value)
		for _, item := range n.Pairs[i].Value.Items {
			mark(item)
		}
	}
}

func (r *taskFieldReader) read(p *source.Pair, in *source.Node) {
	n, t := p.Value, &r.t.task
	switch r.Misspelled(p, in, "task") {
	case "task_type":
	case "variables":
		r.taskVariables(n)
	case "description":
		t.Description = r.LongText(n, "description", read.MaxDescription)
	case "method":
		r.decisive(n)
		r.method(n)
	case "tags":
		r.decisive(n)
		t.Tags = r.tags(n)
	case "slots":
		r.decisive(n)
		if r.byItem(n) {
			break
		}
		r.Placing = true
		if slots, ok := r.Integer(n, 1, schema.MaxSlots); ok {
			t.Slots = slots
		}
		r.Placing = false
	case "timeout":
		t.Timeout = r.Positive(n, t.Timeout)
	case "timeouts":
		r.timeouts(n, p)
	case "retry":
		t.Retry, t.RetryGiven = r.Integer(n, 0, schema.MaxRetry)
	case "delay_between_retries", "retry_backoff_policy", "backoff":
		r.waits.set(r.reader, p)
	case "allow_failure":
		r.decidedBy(func() { r.allowFailure(n) })
	case "always_run":
		r.decisive(n)
		t.AlwaysRun = r.Flag(n)
	case "allow_start_if_completed":
		t.AllowStartIfCompleted = r.Flag(n)
	case "execution":
		r.execution(n)
	case "dependencies":
		r.decisive(n)
		t.Downloads = r.dependencies(n, true)
	case "depends_on":
		r.decisive(n)
		t.Requires = r.dependencies(n, false)
	case "on_completed", "on_failed", "on_exit_code":
		r.decisive(n) // read together by routes
	default:
		if !r.flowField(p) {
			r.spec(p)
		}
	}
}

// byItem reports whether a value depends on the item of a fan-out, which is not known for the task as a whole.
func (r *taskFieldReader) byItem(n *source.Node) bool {
	if len(r.flow.itemNames) == 0 || r.Checking || n.Kind != source.Scalar || !n.Templated {
		return false
	}
	unset := len(r.Unset)
	s, ok := r.Resolve(n)
	if !ok || s.Known || len(r.Unset) > unset {
		return false
	}
	r.t.task.ItemClass = true
	return true
}

// spec reads the fields that the ant executes.
func (r *taskFieldReader) spec(p *source.Pair) {
	n, spec := p.Value, &r.t.task.Spec
	switch p.Key {
	case "before_script":
		spec.BeforeScript = read.Texts(r.List(n))
	case "script":
		spec.Script = read.Texts(r.List(n))
	case "after_script":
		spec.AfterScript = read.Texts(r.List(n))
	case "environment":
		spec.Environment = r.Texts(n)
	case "working_dir":
		spec.WorkingDir, _ = r.Text(n)
	case "url":
		spec.URL, _ = r.Text(n)
	case "headers":
		spec.Headers = r.Headers(n)
		if len(spec.Headers) > maxHeaders {
			r.Fault(n, source.CodeInvalidValue, "there are too many headers", fmt.Sprintf("at most %d", maxHeaders))
		}
	case "query":
		spec.Query = r.Texts(n)
	case "report_stdout":
		spec.ReportStdout = r.Flag(n)
		r.t.task.ReportStdout = spec.ReportStdout
	case "cpu_limit":
		spec.CPUMillis = r.CPU(n)
	case "memory_limit":
		spec.MemoryBytes = r.Memory(n)
	case "log_limit":
		spec.LogLimit = r.Memory(n)
	default:
		if !r.option(p) {
			r.UnknownIn(p, "a task", schema.Task, "the job", schema.Job)
		}
	}
}

// taskVariables reads the task's own variables. What the caller gives under the same name goes before them, so that
// Spec.Variables holds what the templates see.
func (r *taskFieldReader) taskVariables(n *source.Node) {
	own := r.Variables(n)
	if len(own) == 0 {
		return
	}
	scope := r.Machine.Scope
	for name, v := range own {
		if template.HasUnknown(v) {
			delete(own, name) // not set before the claim
			if scope.IsItem(template.VarFanOutIndex) {
				scope.Item[name] = template.Unknown{} // nor before there is an item
			} else if scope.Secrets != nil {
				scope.Secrets[name] = template.Unknown{} // a secret may be in it
			}
		}
	}
	scope.Task = own
	effective := make(value.Vars, len(own))
	for name := range own {
		if v, ok := scope.Lookup(name); ok && !template.HasUnknown(v) {
			effective[name] = v
		}
	}
	r.t.task.Spec.Variables = effective
}

func (r *taskFieldReader) method(n *source.Node) {
	if r.byItem(n) {
		r.t.methodKnown = false
		return
	}
	r.Placing = true
	method, ok := r.Planned(n)
	r.Placing = false
	if !ok {
		r.t.methodKnown = false
		return
	}
	method = strings.ToUpper(strings.TrimSpace(method))
	if r.Nothing(n, method) {
		return
	}
	if !slices.Contains(plan.Methods(), method) {
		expected := "one of " + strings.Join(plan.Methods(), ", ")
		if near := r.Collector.Suggest(method, plan.Methods()); near != "" && !n.Templated {
			expected = near
		}
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no method", expected)
		return
	}
	r.t.task.Method = method
}

// checkMethod checks the fields that the method needs.
func (r *taskFieldReader) checkMethod(n *source.Node) {
	t, spec := &r.t.task, &r.t.task.Spec
	if at := n.Get("secrets"); len(t.Secrets) > 0 && r.t.methodKnown && !slices.Contains(plan.SecretMethods(), t.Method) {
		r.Fault(at, source.CodeConflict, "a task of the method "+t.Method+" gets no secrets", "the method "+strings.Join(plan.SecretMethods(), ", "))
	}
	at := n
	if m := n.Get("method"); m != nil {
		at = m
	}
	switch {
	case plan.IsHTTP(t.Method):
		if spec.URL == "" && len(spec.Script) > 0 {
			if len(spec.Script) > 1 {
				r.Fault(n.Get("script"), source.CodeInvalidValue, "an HTTP task makes one request", "one line, the URL")
			}
			spec.URL = strings.TrimSpace(spec.Script[0])
		}
		spec.BeforeScript, spec.Script, spec.AfterScript = nil, nil, nil
		if spec.URL == "" && n.Get("url") == nil && n.Get("script") == nil {
			r.Fault(at, source.CodeMissingField, "the field url is missing", "the URL of the request")
		}
	case t.Method == plan.MethodShell:
		if len(spec.Script)+len(spec.BeforeScript) == 0 && n.Get("script") == nil && n.Get("before_script") == nil {
			r.Fault(at, source.CodeMissingField, "the field script is missing", "the lines to run")
		}
	case plan.IsScript(t.Method): // the image may have a command of its own
	default:
		r.checkOwnMethod(n, at)
	}
	r.checkForeign(n)
}

func (r *taskFieldReader) tags(n *source.Node) []string {
	var tags []string
	for _, it := range r.PlannedList(n) {
		if !it.Known {
			if !r.byItem(it.Node) {
				r.UnknownNow(it.Node, true)
			}
			continue
		}
		for tag := range strings.SplitSeq(it.Text, ",") {
			tag = strings.ToLower(strings.TrimSpace(tag))
			if tag == "" {
				continue
			}
			if len(tag) > value.MaxName || strings.ContainsFunc(tag, func(c rune) bool { return c <= ' ' || c == '|' || c == ';' }) {
				r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no tag", "up to 100 characters without spaces, | and ;")
				continue
			}
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if len(tags) > maxTags {
		r.Fault(n, source.CodeInvalidValue, "there are too many tags", fmt.Sprintf("at most %d", maxTags))
	}
	return tags
}

func (r *taskFieldReader) timeouts(n *source.Node, at *source.Pair) {
	t := &r.t.task
	timeout := t.Timeout
	r.Mapping(n, func(p *source.Pair) {
		switch p.Key {
		case "pending":
			r.decisive(p.Value)
			t.PendingTimeout = r.Duration(p.Value)
		case "run":
			timeout = r.Positive(p.Value, timeout)
			if t.Timeout != defaultTaskTimeout && t.Timeout != timeout {
				r.Add(p.Line, p.Column, source.CodeConflict, "timeout and timeouts.run are both given", "one of them")
			}
		case "total":
			t.TotalTimeout = r.Duration(p.Value)
		case "grace":
			t.Grace = r.Duration(p.Value)
		default:
			r.Unknown(p, schema.Timeouts)
		}
	}, at)
	t.Timeout = timeout
}

func (r *taskFieldReader) execution(n *source.Node) {
	text, ok := r.Planned(n)
	switch {
	case !ok || text == "at_least_once" || text == "":
	case text == "at_most_once":
		r.t.task.AtMostOnce = true
	default:
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no kind of execution", "at_least_once or at_most_once")
	}
}

// targets reads the task names of an edge.
func (r *taskFieldReader) targets(n *source.Node, data bool) []string {
	return r.targetsBut(n, data, false)
}

// targetsBut is targets, with own without the task itself.
func (r *taskFieldReader) targetsBut(n *source.Node, data, own bool) []string {
	items := r.PlannedList(n)
	if len(items) > maxTargets {
		r.Fault(n, source.CodeTooManyEdges, "there are too many names", fmt.Sprintf("at most %d", maxTargets))
		return nil
	}
	names := make([]string, 0, len(items))
	seen := make(map[string]bool, len(items))
	for _, it := range items {
		name := strings.TrimSpace(it.Text)
		switch {
		case !it.Known:
			r.t.edges = append(r.t.edges, graph.Edge{At: it.Node, Data: data})
			r.UnknownNow(it.Node, false)
			continue
		case name == "" || seen[name] || own && r.ownDependency(it, name):
			continue
		}
		seen[name] = true
		names = append(names, name)
		if data || !plan.IsAction(name) {
			r.t.edges = append(r.t.edges, graph.Edge{Target: name, Known: true, Data: data, Loop: r.byLoop(n, it, items), At: it.Node})
		}
	}
	return names
}

// ownDependency leaves a task out of its own dependencies.
func (r *taskFieldReader) ownDependency(it read.Item, name string) bool {
	if !r.t.named || name != r.t.task.Name {
		return false
	}
	r.ReadAs(it.Node, "the task "+r.t.shown+" is among its own dependencies: it is left out there", "tasks that end before it")
	return true
}

// byLoop reports whether one of the items of a field was not written by hand: a loop made it, or the value of a variable
// that is a list.
func (r *reader) byLoop(n *source.Node, it read.Item, items []read.Item) bool {
	return it.Node == n && n.Kind == source.Scalar && len(items) > 1 || r.inLoop(it.Node)
}

// inLoop reports whether a node was written by a loop of the template.
func (r *reader) inLoop(n *source.Node) bool {
	s, _ := r.Shape.SegmentAt(n.Line, n.Column)
	return s != nil && s.Loop
}

// dependencies reads the tasks that are waited for; own says that the task itself may be among them.
func (r *taskFieldReader) dependencies(n *source.Node, own bool) []string {
	t := &r.t.task
	names := r.targetsBut(n, true, own)
	if len(t.DependsOn) == 0 {
		t.DependsOn = slices.Clone(names)
		return names
	}
	both := make(map[string]bool, len(t.DependsOn))
	for _, name := range t.DependsOn {
		both[name] = true
	}
	for _, name := range names {
		if !both[name] {
			t.DependsOn = append(t.DependsOn, name)
		}
	}
	return names
}

// routes reads the control edges.
func (r *taskFieldReader) routes(n *source.Node) {
	t := &r.t.task
	seen := map[plan.Key]string{}
	add := func(key string, at, targets *source.Node) {
		key, parsed, err := r.Outcome(key, at)
		if err != nil {
			r.Fault(at, source.CodeInvalidRoute, source.QuoteName(key)+" is no outcome", "an exit code, a range such as 500-599 or 4xx, COMPLETED, FAILED, TIMED_OUT, APPROVED, REJECTED or *")
			return
		}
		names := r.targets(targets, false)
		r.checkRoute(names, targets)
		if first, dup := seen[parsed]; dup {
			if first != strings.Join(names, "\n") {
				r.Fault(at, source.CodeConflict, "the outcome "+key+" leads to different tasks", "one place that says what follows")
			}
			return
		}
		seen[parsed] = strings.Join(names, "\n")
		if len(names) > 0 {
			t.Routes = append(t.Routes, plan.Route{Key: key, Targets: names})
		}
	}
	if at := n.Get("on_completed"); at != nil {
		add(plan.OutcomeCompleted, at, at)
	}
	if at := n.Get("on_failed"); at != nil {
		add(plan.OutcomeFailed, at, at)
	}
	for i := range n.Pairs {
		if p := &n.Pairs[i]; p.Key == "on_exit_code" {
			r.Mapping(p.Value, func(p *source.Pair) {
				add(p.Key, &source.Node{Kind: source.Scalar, Line: p.Line, Column: p.Column, Text: p.Key}, p.Value)
			}, p)
		}
	}
	plan.SortRoutes(t.Routes)
}

func (r *taskFieldReader) checkRoute(names []string, targets *source.Node) {
	for _, name := range names {
		if plan.IsAction(name) && len(names) > 1 {
			r.Fault(targets, source.CodeInvalidRoute, "an action stands among other targets", "one action, or task names only")
			return
		}
	}
}
