package jobspec

import "errors"

// Vars are the values that templates see, by name: strings, bools, int64, float64, nil, and lists and maps of those.
type Vars map[string]any

// Definition is a checked job definition. It is immutable and safe for concurrent use.
type Definition struct {
	JobType        string
	Description    string
	SemVersion     string
	URL            string
	MaxConcurrency int
	Priority       int
	Disabled       bool
	RequiredParams []string
	Params         []Param
}

// Param is one typed parameter of a job.
type Param struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Default     any      `json:"default,omitempty"`
	Required    bool     `json:"required,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	Enum        []string `json:"enum,omitempty"`
	Description string   `json:"description,omitempty"`
}

var errStub = errors.New("jobspec: not written yet")

// Parse reads and checks a definition. err is Problems, all faults at once.
func Parse(file string, text []byte) (def *Definition, warnings Problems, err error) {
	return nil, nil, errStub
}

// CheckParams checks the parameters of a request, fills defaults and converts types. err is Problems.
func (d *Definition) CheckParams(params Vars) (Vars, error) { return nil, errStub }

// Plan renders the definition. vars are the parameters and the built-in variables. err is Problems.
func (d *Definition) Plan(vars Vars) (*Plan, error) { return nil, errStub }

// StartClasses returns the placement classes of the tasks that start at once.
func (d *Definition) StartClasses(vars Vars) ([]Class, error) { return nil, errStub }

// Task renders one task again, with the outputs of earlier tasks among vars.
func (d *Definition) Task(name string, vars Vars) (*Task, error) { return nil, errStub }

// Env returns the environment of the task's process.
func (t *Task) Env(vars Vars) map[string]string { return nil }
