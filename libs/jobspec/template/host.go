package template

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Host does what three functions of templates ask for and text alone cannot do: CountByJobTypeAndState, SubmitJob and
// SubmitJobsFromJSON. They are there at the launch, in PlanWith: their results become variables of the plan, so that the
// renderings that follow show the same ones and do nothing again. And they are at the claim of a task in whose own section
// they stand and could not be answered before, with Lookups.Host.
type Host interface {
	// CountByState counts the requests of a job type that are in one of the states; no states: in any.
	CountByState(jobType string, states []string) (int, error)
	// Submit submits a job and returns the id of its request. params hold under SubmitUserKey what is the same whenever
	// this run is rendered again, and differs between submissions: the same key is the same submission. Under
	// SubmitParentID they may hold the id of another parent.
	Submit(jobType, description string, params map[string]any) (requestID string, err error)
}

// Names in the items of SubmitJobsFromJSON, and in the params of Host.Submit, that are no parameters.
const (
	SubmitDescription = "_description"
	SubmitUserKey     = "_user_key"
	SubmitParentID    = "_parent_id"
)

// maxHostCalls bounds the counts and, apart from them, the submissions of one rendering.
const maxHostCalls = 1_000

// Hosting is the host of one rendering.
type Hosting struct {
	Host Host
	// Vague says that nothing is to be done yet: results count as unknown.
	Vague bool
	// Asked says that a result counted as unknown.
	Asked          bool
	counts, submit int
	// Err is the first error of the host. It ends the rendering and is no fault of the definition.
	Err error
}

// hostFunction finds a function that needs a host.
func hostFunction(name string) (Function, bool) {
	switch name {
	case "CountByJobTypeAndState":
		return Function{1, -1, false, true, hosted(countByState)}, true
	case "SubmitJob":
		return Function{2, -1, false, true, hosted(submitJob)}, true
	case "SubmitJobsFromJSON":
		return Function{2, -1, false, true, hosted(submitJobs)}, true
	}
	return Function{}, false
}

// hosted calls the host once for each place in the text (and each turn of the loops around it) and keeps the result
// among the variables. No parameter can have the name of such a variable: there is a space in it.
func hosted(call func(in *invocation, h *Hosting, key string, args []any) (any, error)) func(in *invocation, args []any) (any, error) {
	return func(in *invocation, args []any) (any, error) {
		s := in.m.Scope
		key := resultName(in)
		if _, ok := s.Lookup(key); ok {
			return s.Get(key, in.pos), nil
		}
		switch h := s.Hosting; {
		case s.Vague():
			if h != nil {
				h.Asked = true
			}
			if s.OnRead != nil {
				s.OnRead(key, Unknown{})
			}
			return Unknown{}, nil
		case h == nil:
			return nil, faultf(in.pos, source.CodeTemplateFailed,
				"the function %s is available at the launch of a job only, with values that are known then; a task of method FORK_JOB submits a job later, durably", in.name)
		case h.Err != nil:
			return nil, errors.New("the host failed before")
		default:
			v, err := call(in, h, key, args)
			if err != nil {
				return nil, err
			}
			if s.Vars == nil {
				s.Vars = value.Vars{}
			}
			s.Vars[key] = v
			return s.Get(key, in.pos), nil
		}
	}
}

// resultName names the variable of a result.
func resultName(in *invocation) string {
	return in.name + " " + strconv.Itoa(in.pos) + "." + strconv.FormatUint(in.m.path, 36)
}

// Variables that say which others are configs, by their names and values: those of the organisation and the user, and those of
// the job. No other variable has such a name.
const (
	OuterConfigs = "outer configs"
	JobConfigs   = "job configs"
)

// IsResultName tells variables that hold results of a host from those of people.
func IsResultName(name string) bool { return strings.IndexByte(name, ' ') >= 0 }

func countByState(in *invocation, h *Hosting, _ string, args []any) (any, error) {
	if h.counts++; h.counts > maxHostCalls {
		return nil, faultf(in.pos, source.CodeTemplateLimit, "the template counts jobs more than %d times", maxHostCalls)
	}
	var states []string
	for _, a := range args[1:] {
		for state := range strings.SplitSeq(value.Text(a), ",") {
			if state = strings.ToUpper(strings.TrimSpace(state)); state != "" {
				states = append(states, state)
			}
		}
	}
	n, err := h.Host.CountByState(value.Text(args[0]), states)
	if err != nil {
		h.Err = fmt.Errorf("count jobs of type %s: %w", source.QuoteName(value.Text(args[0])), err)
		return nil, errors.New("the host failed")
	}
	return int64(n), nil
}

func submitJob(in *invocation, h *Hosting, key string, args []any) (any, error) {
	params := map[string]any{}
	if err := pairsOf(args[2:], params); err != nil {
		return nil, err
	}
	return h.submitOne(in, key, value.Text(args[0]), value.Text(args[1]), params)
}

// submitJobs submits one job for each object of a list and returns the list of their ids.
func submitJobs(in *invocation, h *Hosting, key string, args []any) (any, error) {
	v := args[1]
	if text, ok := v.(string); ok {
		var err error
		if v, err = FromJSON(text); err != nil {
			return nil, err
		}
	}
	items, ok := v.([]any)
	if !ok {
		items = []any{v}
	}
	if h.submit+len(items) > maxHostCalls {
		return nil, tooManySubmissions(in)
	}
	all := make([]map[string]any, len(items))
	for i, item := range items { // nothing is submitted when one of them is wrong
		own, ok := item.(map[string]any)
		if !ok {
			return nil, errors.New("an item is no object of parameters")
		}
		all[i] = make(map[string]any, len(own))
		if err := pairsOf(args[2:], all[i]); err != nil {
			return nil, err
		}
		maps.Copy(all[i], own)
	}
	ids := make([]any, len(all))
	for i, params := range all {
		description := value.Text(params[SubmitDescription])
		delete(params, SubmitDescription)
		id, err := h.submitOne(in, key+"/"+strconv.Itoa(i), value.Text(args[0]), description, params)
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

func tooManySubmissions(in *invocation) error {
	return faultf(in.pos, source.CodeTemplateLimit, "the template submits more than %d jobs", maxHostCalls)
}

func (h *Hosting) submitOne(in *invocation, key, jobType, description string, params map[string]any) (any, error) {
	if h.submit++; h.submit > maxHostCalls {
		return nil, tooManySubmissions(in)
	}
	if jobType == "" {
		return nil, errors.New("the type of the job is empty")
	}
	if value.Text(params[SubmitUserKey]) == "" {
		job, _ := in.m.Scope.Lookup("JobID")
		params[SubmitUserKey] = value.Text(job) + "/" + strings.ReplaceAll(key, " ", "/")
	}
	id, err := h.Host.Submit(jobType, description, params)
	if err != nil {
		h.Err = fmt.Errorf("submit a job of type %s: %w", source.QuoteName(jobType), err)
		return nil, errors.New("the host failed")
	}
	return id, nil
}

// pairsOf reads arguments of the form "NAME=VALUE".
func pairsOf(args []any, out map[string]any) error {
	for _, a := range args {
		name, val, ok := strings.Cut(value.Text(a), "=")
		if name = strings.TrimSpace(name); !ok || !value.ValidName(name) {
			return errors.New("a parameter is not written NAME=VALUE")
		}
		out[name] = val
	}
	return nil
}
