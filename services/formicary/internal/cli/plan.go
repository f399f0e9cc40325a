package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/formicary/internal/draw"
)

func (a *app) jobPlanCmd() *cobra.Command {
	var params []string
	var jobType string
	c := &cobra.Command{
		Use: "plan FILE", Short: "Show what applying and running a definition would do", Args: cobra.ExactArgs(1),
		Long: `Show what applying and running a definition would do, and do nothing: how it differs from the stored version, its tasks and
what leads to them, and whether the ants of the server could take each task now. Without a server only the tasks are shown.`,
		Example: "  formicary job plan job.yaml\n  formicary job plan job.yaml -p branch=main -o json",
		RunE: func(c *cobra.Command, args []string) error {
			return a.planFile(c.Context(), args[0], jobType, params)
		},
	}
	c.Flags().StringArrayVarP(&params, "param", "p", nil, "parameter `name=value`, may be repeated")
	c.Flags().StringVar(&jobType, "job-type", "", jobTypeHelp)
	return c
}

// planned is what `job plan` tells.
type planned struct {
	JobType string        `json:"job_type"`
	Stored  string        `json:"stored"` // what apply would do
	Diff    string        `json:"diff,omitempty"`
	Skip    bool          `json:"skip,omitempty"`
	Tasks   []plannedTask `json:"tasks"`
	Server  string        `json:"server,omitempty"` // why nothing is known of it
	ants    []*resourcev1.Ant
}

type plannedTask struct {
	Name      string   `json:"name"`
	Method    string   `json:"method"`
	Tags      []string `json:"tags,omitempty"`
	After     []string `json:"after,omitempty"`
	Then      []string `json:"then,omitempty"`
	Placement string   `json:"placement"`
}

func (a *app) planFile(ctx context.Context, file, jobType string, params []string) error {
	text, err := readFile(file)
	if err != nil {
		return err
	}
	job, plan, err := a.render(file, text, jobType, params)
	if err != nil {
		return err
	}
	p := &planned{JobType: job.jobType, Skip: plan.Skip}
	err = a.with(ctx, func(ctx context.Context, cl *client) error { return p.compare(ctx, cl, job.text) })
	switch {
	case err == nil:
	case errs.CodeOf(err) == errs.CodeUnavailable && !a.named():
		p.Server, p.Stored = fmt.Sprintf("no server answers at %s: what is stored, and where tasks could run, is not known", a.used.grpc), "unknown"
	default:
		return err
	}
	p.list(plan)
	return a.showPlan(p)
}

// render plans a job of a text with parameters; faults are told like those of lint.
func (a *app) render(file, text, jobType string, params []string) (fileJob, *plan.Plan, error) {
	job, err := a.jobIn(file, text, jobType)
	if err != nil {
		return fileJob{}, nil, err
	}
	def := job.def
	values, err := keyValues(params)
	if err != nil {
		return fileJob{}, nil, err
	}
	checked, err := def.CheckParams(values)
	if err == nil {
		var plan *plan.Plan
		vars := value.Vars{"JobID": "00000000-0000-0000-0000-000000000000", "JobType": def.JobType, "JobRetry": int64(0)}
		maps.Copy(vars, checked)
		if plan, err = def.Plan(vars); err == nil {
			return job, plan, nil
		}
	}
	var faults source.Problems
	if !errors.As(err, &faults) {
		return fileJob{}, nil, err
	}
	for _, p := range faults {
		line(a.Err, p)
	}
	return fileJob{}, nil, &exit{code: exitUsage}
}

// compare asks the server for the stored version and the ants.
func (p *planned) compare(ctx context.Context, cl *client, text string) error {
	res, err := cl.definitions.GetJobDefinition(ctx, &jobv1.GetJobDefinitionRequest{Id: p.JobType})
	switch {
	case errs.CodeOf(err) == errs.CodeNotFound:
		p.Stored = "would be stored as version 1 of a new job"
	case err != nil:
		return err
	case res.GetDefinition().GetYaml() == text:
		p.Stored = fmt.Sprintf("is stored already as version %s", versionText(res.GetDefinition()))
	default:
		d := res.GetDefinition()
		p.Stored = fmt.Sprintf("would be stored as version %d", d.GetVersion()+1)
		p.Diff = udiff.Unified(fmt.Sprintf("%s@%d", p.JobType, d.GetVersion()), "this file", d.GetYaml(), text)
	}
	list, err := cl.ants.ListAnts(ctx, &resourcev1.ListAntsRequest{PageSize: 1000})
	if err != nil {
		return err
	}
	p.ants = list.GetAnts()
	return nil
}

// list says of each task what it waits for and where it could run.
func (p *planned) list(rendered *plan.Plan) {
	into := map[string][]string{}
	for i := range rendered.Tasks {
		t := &rendered.Tasks[i]
		for _, r := range t.Routes {
			for _, target := range r.Targets {
				if !plan.IsAction(target) {
					into[target] = append(into[target], t.Name+" ("+r.Key+")")
				}
			}
		}
		into[t.Name] = append(into[t.Name], t.DependsOn...)
	}
	for i := range rendered.Tasks {
		t := &rendered.Tasks[i]
		pt := plannedTask{Name: t.Name, Method: t.Method, Tags: t.Tags, After: into[t.Name], Placement: p.placement(t)}
		for _, r := range t.Routes {
			pt.Then = append(pt.Then, r.Key+" → "+strings.Join(r.Targets, ", "))
		}
		p.Tasks = append(p.Tasks, pt)
	}
}

// placement says whether an ant could take the task now.
func (p *planned) placement(t *plan.Task) string {
	switch t.Method {
	case plan.MethodManual, plan.MethodForkJob, plan.MethodAwaitForkedJob, plan.MethodExpireArtifacts, plan.MethodWait:
		return "needs no ant"
	}
	if p.Server != "" {
		return "unknown"
	}
	offered, free := 0, 0
	for _, ant := range p.ants {
		if ant.GetState() != resourcev1.Ant_ONLINE || !slices.Contains(ant.GetMethods(), t.Method) || slices.Contains(ant.GetUnhealthyMethods(), t.Method) {
			continue
		}
		if !slices.ContainsFunc(t.Tags, func(tag string) bool { return !slices.Contains(ant.GetTags(), tag) }) {
			offered++
			if ant.GetSlots()-ant.GetUsed() >= int32(t.Slots) { // #nosec G115 -- bounded by the language
				free++
			}
		}
	}
	switch {
	case offered == 0 && len(t.Tags) > 0:
		return "no ant offers " + t.Method + " with the tags " + strings.Join(t.Tags, ", ")
	case offered == 0:
		return "no ant offers " + t.Method
	case free == 0:
		return "would wait: every fitting ant is busy"
	case free == 1:
		return "now, on 1 ant"
	}
	return fmt.Sprintf("now, on one of %d ants", free)
}

func (a *app) showPlan(p *planned) error {
	if a.output != "table" && a.output != "name" {
		raw, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("encode plan: %w", err)
		}
		return a.showJSON(raw)
	}
	if p.Server == "" {
		printf(a.Out, "%s %s\n", p.JobType, p.Stored)
	}
	if p.Diff != "" {
		printf(a.Out, "\n%s", p.Diff)
	}
	if p.Server != "" {
		line(a.Err, p.Server)
	}
	if p.Skip {
		line(a.Out, "skip_if holds: a request would end as SKIPPED")
	}
	if p.Server == "" || p.Skip {
		line(a.Out, "")
	}
	return tabulate(a.Out, func(w io.Writer) {
		row(w, "TASK", "METHOD", "AFTER", "THEN", "PLACEMENT")
		for _, t := range p.Tasks {
			row(w, t.Name, t.Method, strings.Join(t.After, ", "), strings.Join(t.Then, "; "), t.Placement)
		}
	})
}

func (a *app) jobGraphCmd() *cobra.Command {
	var params []string
	var jobType string
	c := &cobra.Command{
		Use: "graph FILE|JOB[@VERSION]", Short: "Draw the tasks of a definition", Args: cobra.ExactArgs(1),
		Long:    "Draw the tasks of a definition, of a file or, when there is no such file, of one that the server stores.",
		Example: "  formicary job graph job.yaml\n  formicary job graph job.yaml -o svg > job.svg\n  formicary job graph build@3 -o dot | dot -Tpng > job.png",
		RunE: func(c *cobra.Command, args []string) error {
			text, err := a.textOf(c.Context(), args[0])
			if err != nil {
				return err
			}
			_, plan, err := a.render(args[0], text, jobType, params)
			if err != nil {
				return err
			}
			return a.draw(plan)
		},
	}
	c.Flags().StringArrayVarP(&params, "param", "p", nil, "parameter `name=value`, may be repeated")
	c.Flags().StringVar(&jobType, "job-type", "", jobTypeHelp)
	return printsIn(c, "mermaid", "dot", "svg")
}

// textOf reads a file, or the stored definition of that name.
func (a *app) textOf(ctx context.Context, name string) (string, error) {
	if name == "-" {
		return readFile(name)
	}
	if _, err := os.Stat(name); err == nil || strings.ContainsAny(name, "/\\") || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		return readFile(name)
	}
	var text string
	err := a.with(ctx, func(ctx context.Context, cl *client) error {
		res, err := cl.definitions.GetJobDefinition(ctx, &jobv1.GetJobDefinitionRequest{Id: name})
		text = res.GetDefinition().GetYaml()
		return err
	})
	return text, err
}

func (a *app) draw(plan *plan.Plan) error {
	var text string
	switch a.output {
	case "dot":
		text = draw.DOT(plan)
	case "svg":
		text = string(draw.SVG(plan))
	default:
		text = draw.Mermaid(plan)
	}
	_, err := io.WriteString(raw(a.Out), text)
	return err
}
