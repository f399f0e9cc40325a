package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/rehearse"
)

const testHelp = `Check what a definition does, without running anything. The cases stand beside it: those of job.yaml in job_test.yaml.
A case gives parameters, says how tasks end, and what must come of it. A task that a case does not name succeeds.

  cases:
    - name: too many errors lead to a roll back
      params: {errors: 50}
      tasks:
        analyse: {exit_code: 20}            # one result for every attempt,
        deploy: [{exit_code: 75}, {}]       # or one for each attempt, the last one for all that follow
        approve: {vote: APPROVED}           # of a task that waits for approval
        child: {child: FAILED}              # of a task that forks a job and waits for it
        load[3]: {timed_out: true}          # of one item of a fan-out; also {lost: true}
        list: {outputs: {files: '["a"]'}}   # what later tasks see
      expect:
        state: COMPLETED
        error_code: ""
        tasks: {rollback: COMPLETED, promote: SKIPPED}
        attempts: {deploy: 2}`

// testCase is a story about a definition.
type testCase struct {
	Name   string             `yaml:"name"`
	Params values             `yaml:"params"`
	Vars   values             `yaml:"vars"`
	Tasks  map[string]results `yaml:"tasks"`
	Expect struct {
		State     string            `yaml:"state"`
		ErrorCode *string           `yaml:"error_code"`
		Tasks     map[string]string `yaml:"tasks"`
		Attempts  map[string]int    `yaml:"attempts"`
		Outputs   map[string]string `yaml:"outputs"`
	} `yaml:"expect"`
}

// values are parameters; their numbers keep their digits.
type values map[string]any

// UnmarshalYAML reads numbers as JSON does where they are written alike.
func (v *values) UnmarshalYAML(n *yaml.Node) error {
	plain := map[string]any{}
	if err := n.Decode(&plain); err != nil {
		return err
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if _, ok := plain[n.Content[i].Value]; ok { // not so behind a merge key
			plain[n.Content[i].Value] = exactly(plain[n.Content[i].Value], n.Content[i+1])
		}
	}
	*v = plain
	return nil
}

// exactly replaces the numbers of a value by those that were written.
func exactly(v any, n *yaml.Node) any {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = exactly(v[i], n.Content[i])
		}
	case map[string]any:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if own, ok := v[n.Content[i].Value]; ok {
				v[n.Content[i].Value] = exactly(own, n.Content[i+1])
			}
		}
	case int, int64, uint64, float64:
		if raw := json.RawMessage(n.Value); json.Valid(raw) {
			if number, ok := exact.Number(json.Number(n.Value)); ok {
				return number
			}
		}
	}
	return v
}

// results are one result, or one for each attempt.
type results []result

type result struct {
	ExitCode int               `yaml:"exit_code"`
	Outputs  map[string]string `yaml:"outputs"`
	Body     string            `yaml:"result"`
	Message  string            `yaml:"message"`
	TimedOut bool              `yaml:"timed_out"`
	Lost     bool              `yaml:"lost"`
	Vote     string            `yaml:"vote"`
	Child    string            `yaml:"child"`
}

// UnmarshalYAML accepts one result in the place of a list.
func (r *results) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		one, err := readResult(item)
		if err != nil {
			return err
		}
		*r = append(*r, one)
	}
	return nil
}

// readResult decodes a result and refuses what it does not know; the decoder's own setting does not reach into
// UnmarshalYAML.
func readResult(n *yaml.Node) (result, error) {
	var r result
	fault := func(line int, format string, args ...any) error {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", line) + fmt.Sprintf(format, args...)}}
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.MappingNode {
		known := fieldsOf(r)
		for i := 0; i < len(n.Content); i += 2 {
			if name := n.Content[i].Value; !slices.Contains(known, name) {
				return r, fault(n.Content[i].Line, "field %s not found in type cli.result", name)
			}
		}
	}
	if err := n.Decode(&r); err != nil {
		return r, err
	}
	if votes := []string{"", plan.OutcomeApproved, plan.OutcomeRejected}; !slices.Contains(votes, r.Vote) {
		return r, fault(n.Line, "vote %s: want %s", r.Vote, strings.Join(votes[1:], " or "))
	}
	if ends := []string{"", "COMPLETED", "FAILED", "CANCELLED"}; !slices.Contains(ends, r.Child) {
		return r, fault(n.Line, "child %s: want one of %s", r.Child, strings.Join(ends[1:], ", "))
	}
	return r, nil
}

// fieldsOf lists the YAML names of a struct's fields.
func fieldsOf(v any) []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		names = append(names, f.Tag.Get("yaml"))
	}
	return names
}

// caseFaults tells faults of a file with cases, each with its line, in the words of the user instead of those of Go.
func caseFaults(file string, err error) error {
	typed, ok := errors.AsType[*yaml.TypeError](err)
	switch {
	case errors.Is(err, io.EOF):
		return usageError(fmt.Errorf("%s holds no cases", file))
	case !ok:
		return usageError(fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	faults := make([]string, len(typed.Errors))
	for i, f := range typed.Errors {
		if line, text, found := strings.Cut(strings.TrimPrefix(f, "line "), ": "); found {
			f = line + ": " + text
		}
		f, _, _ = strings.Cut(f, " in type ")
		f, _, _ = strings.Cut(f, " into cli.")
		faults[i] = file + ":" + f
	}
	return usageError(errors.New(strings.Join(faults, "\n")))
}

// verdict is what became of a case.
type verdict struct {
	Name   string   `json:"name"`
	Passed bool     `json:"passed"`
	State  string   `json:"state,omitempty"`
	Faults []string `json:"faults,omitempty"`
	Steps  []string `json:"steps,omitempty"`
}

func (a *app) jobTestCmd() *cobra.Command {
	var casesFile, only, jobType string
	var verbose bool
	c := &cobra.Command{
		Use: "test FILE", Short: "Check the cases beside a definition, without running anything", Long: testHelp, Args: cobra.ExactArgs(1),
		Example: "  formicary job test job.yaml\n  formicary job test job.yaml --cases nightly_test.yaml -v\n  formicary job test job.yaml --only rollback -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			if casesFile == "" {
				ext := filepath.Ext(args[0])
				casesFile = strings.TrimSuffix(args[0], ext) + "_test" + ext
			}
			return a.testJob(args[0], jobType, casesFile, only, verbose)
		},
	}
	c.Flags().StringVar(&casesFile, "cases", "", "`file` with the cases; job_test.yaml of job.yaml unless given")
	c.Flags().StringVar(&jobType, "job-type", "", jobTypeHelp)
	c.Flags().StringVar(&only, "only", "", "only cases whose name contains this `text`")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "tell the steps of every case, not only of those that fail")
	return c
}

func (a *app) testJob(file, jobType, casesFile, only string, verbose bool) error {
	text, err := readFile(file)
	if err != nil {
		return err
	}
	job, err := a.jobIn(file, text, jobType)
	if err != nil {
		return err
	}
	cases, err := readCases(casesFile)
	if err != nil {
		return err
	}
	cases = slices.DeleteFunc(cases, func(tc testCase) bool { return !strings.Contains(tc.Name, only) })
	if len(cases) == 0 {
		return usageError(fmt.Errorf("no case of %s is named %q", casesFile, only))
	}
	verdicts := []verdict{}
	failed := 0
	for _, tc := range cases {
		v := tc.judge(job.def)
		if !v.Passed {
			failed++
		}
		verdicts = append(verdicts, v)
	}
	if err := a.showVerdicts(verdicts, verbose); err != nil {
		return err
	}
	if failed > 0 {
		return &exit{code: exitFailed}
	}
	return nil
}

func readCases(file string) ([]testCase, error) {
	raw, err := os.ReadFile(file) // #nosec G304 -- the file that the user names
	if err != nil {
		return nil, usageError(fmt.Errorf("read cases: %w", err))
	}
	var doc struct {
		Cases []testCase `yaml:"cases"`
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		return nil, caseFaults(file, err)
	}
	for i := range doc.Cases {
		if doc.Cases[i].Name == "" {
			doc.Cases[i].Name = fmt.Sprintf("case %d", i+1)
		}
	}
	if len(doc.Cases) == 0 {
		return nil, usageError(fmt.Errorf("%s holds no cases", file))
	}
	return doc.Cases, nil
}

// judge rehearses the case and compares.
func (tc *testCase) judge(def *jobspec.Definition) verdict {
	v := verdict{Name: tc.Name}
	params, err := def.CheckParams(value.Vars(tc.Params))
	if err != nil {
		v.Faults = strings.Split(err.Error(), "\n")
		return v
	}
	vars := value.Vars{}
	maps.Copy(vars, tc.Vars)
	maps.Copy(vars, params)
	got, err := rehearse.Play(def, vars, tc.fake)
	if err != nil {
		v.Faults = strings.Split(err.Error(), "\n")
		return v
	}
	v.State, v.Steps = got.State, got.Steps
	tc.compare(&v, got)
	v.Passed = len(v.Faults) == 0
	return v
}

// fake is how an attempt of a task ends.
func (tc *testCase) fake(task, group string, attempt int) rehearse.Fake {
	list, ok := tc.Tasks[task]
	if !ok {
		list = tc.Tasks[group]
	}
	if len(list) == 0 {
		return rehearse.Fake{}
	}
	return rehearse.Fake(list[min(attempt, len(list))-1])
}

func (tc *testCase) compare(v *verdict, got *rehearse.Result) {
	differ := func(what, got, want string) {
		if got != want {
			v.Faults = append(v.Faults, fmt.Sprintf("%s is %s, want %s", what, orNone(got), orNone(want)))
		}
	}
	want := tc.Expect
	if want.State != "" {
		differ("the job", got.State, want.State)
	}
	if want.ErrorCode != nil {
		differ("the error code", got.ErrorCode, *want.ErrorCode)
	}
	for _, name := range slices.Sorted(maps.Keys(want.Tasks)) {
		differ("task "+name, got.Tasks[name].State, want.Tasks[name])
	}
	for _, name := range slices.Sorted(maps.Keys(want.Attempts)) {
		differ("the number of attempts of task "+name, fmt.Sprint(got.Tasks[name].Attempts), fmt.Sprint(want.Attempts[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Outputs)) {
		differ("the output "+name, got.Outputs[name], want.Outputs[name])
	}
	known := slices.Sorted(maps.Keys(got.Tasks))
	for _, name := range slices.Sorted(maps.Keys(tc.Tasks)) {
		if !slices.Contains(known, name) {
			v.Faults = append(v.Faults, fmt.Sprintf("the case says how %s ends, but there is no such task; there are %s", name, strings.Join(known, ", ")))
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func (a *app) showVerdicts(list []verdict, verbose bool) error {
	if a.output != "table" && a.output != "name" {
		raw, err := json.Marshal(map[string]any{"cases": list})
		if err != nil {
			return fmt.Errorf("encode verdicts: %w", err)
		}
		return a.showJSON(raw)
	}
	passed := 0
	for _, v := range list {
		mark := "FAIL"
		if v.Passed {
			mark = "ok"
			passed++
		}
		printf(a.Out, "%-4s  %s\n", mark, v.Name)
		for _, f := range v.Faults {
			printf(a.Out, "      %s\n", f)
		}
		if verbose || !v.Passed {
			for _, s := range v.Steps {
				printf(a.Out, "      · %s\n", s)
			}
		}
	}
	printf(a.Out, "%d of %d cases passed\n", passed, len(list))
	return nil
}
