package plan

import "strings"

// Fork is a job that a task submits.
type Fork struct {
	// JobType to submit, of the own organisation or a public plugin.
	JobType string `json:"job_type"`
	// Version is a number, a sem_version or a range such as ^1.2; empty: the newest.
	Version string `json:"version,omitempty"`
	// Params of the job: sub_workflow.input_params.
	Params map[string]any `json:"params,omitempty"`
	// Outputs of the child that become outputs of the task: sub_workflow.output_variables.
	Outputs []OutputName `json:"outputs,omitempty"`
	// Wait says that the task ends when the child does, and as it does; else it completes once the child is submitted.
	Wait bool `json:"wait,omitempty"`
	// CascadeCancel says that the child is cancelled when the parent is, though the task does not wait for it. A child
	// that is waited for always is.
	CascadeCancel bool `json:"cascade_cancel,omitempty"`
}

// OutputName renames an output of a child.
type OutputName struct {
	// Name of the output in the child, As its name in the parent.
	Name string `json:"name"`
	As   string `json:"as"`
}

// ForkedJobVar names the output of a FORK_JOB task that holds the id of its child.
func ForkedJobVar(task string) string { return task + ".ForkedJobID" }

// StatusVar names the variable that says how a task ended, or the child of one that forked it.
func StatusVar(task string) string { return task + StatusSuffix }

// StatusSuffix ends the names of variables that say how a task ended.
const StatusSuffix = "-status"

// StatusOf returns the task whose status a variable is.
func StatusOf(variable string) (task string, ok bool) {
	task, ok = strings.CutSuffix(variable, StatusSuffix)
	return task, ok && task != ""
}

// Given returns what the parent gets of a child's outputs: those that Outputs names; when it names none all of them but the
// addresses of artifacts, which the parent has under the name of its own task and would take for those of a task of its own.
func (f *Fork) Given(outputs map[string]string) map[string]string {
	if len(f.Outputs) == 0 {
		given := make(map[string]string, len(outputs))
		for name, v := range outputs {
			if _, _, ok := ArtifactOf(name); !ok {
				given[name] = v
			}
		}
		return given
	}
	given := make(map[string]string, len(f.Outputs))
	for _, name := range f.Outputs {
		if v, ok := outputs[name.Name]; ok {
			given[name.As] = v
		}
	}
	return given
}
