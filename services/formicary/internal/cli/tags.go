package cli

import (
	"maps"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// hintTags says which tasks no ant will take: the only one there is owns what --tags says. They wait, since an ant that owns
// a tag means something by it.
func (a *app) hintTags(o runOptions, params map[string]any) {
	var tasks, missing []string
	for i, j := range o.jobs {
		given := params
		if i != o.main {
			given = nil
		}
		asking, tags := unowned(o.file, j.text, given, o.tags)
		tasks, missing = append(tasks, asking...), append(missing, tags...)
	}
	slices.Sort(missing)
	if missing = slices.Compact(missing); len(missing) == 0 {
		return
	}
	verb := "asks"
	if len(tasks) > 1 {
		verb = "ask"
	}
	printf(a.Err, "%s %s for tags that the ant of this run does not own, and will wait: give them with --tags %s\n",
		strings.Join(tasks, ", "), verb, strings.Join(slices.Concat(o.tags, missing), ","))
}

// unowned returns the tasks whose tags are not all owned, and the tags that are missing. What is known only when the job runs
// is told then.
func unowned(file, text string, params map[string]any, owned []string) (tasks, missing []string) {
	def, _, err := jobspec.Parse(file, []byte(text))
	if err != nil {
		return nil, nil
	}
	checked, err := def.CheckParams(params)
	if err != nil {
		return nil, nil
	}
	vars := value.Vars{"JobID": "00000000-0000-0000-0000-000000000000", "JobType": def.JobType, "JobRetry": int64(0)}
	maps.Copy(vars, checked)
	plan, err := def.Plan(vars)
	if err != nil {
		return nil, nil
	}
	has := map[string]bool{}
	for _, tag := range owned {
		has[strings.ToLower(strings.TrimSpace(tag))] = true
	}
	for i := range plan.Tasks {
		before := len(missing)
		for _, tag := range plan.Tasks[i].Tags {
			if !has[tag] {
				missing = append(missing, tag)
			}
		}
		if len(missing) > before {
			tasks = append(tasks, plan.Tasks[i].Name)
		}
	}
	slices.Sort(missing)
	return tasks, slices.Compact(missing)
}
