package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) jobCmd() *cobra.Command {
	return group("job", "Definitions of jobs", "formicary job apply job.yaml",
		a.jobListCmd(), alsoCalled(a.jobGetCmd(), "show", "cat"), alsoCalled(a.jobApplyCmd(), "create", "save", "upload"), alsoCalled(a.jobLintCmd(), "validate", "check"), a.jobTestCmd(), a.jobPlanCmd(), a.jobGraphCmd(), a.jobInitCmd(), a.jobPluginsCmd(), a.jobDeleteCmd(), a.jobSwitchCmd(true), a.jobSwitchCmd(false), a.jobVersionsCmd())
}

func (a *app) jobListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the newest version of every job", Args: cobra.NoArgs,
		Example: "  formicary job list",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &jobv1.ListJobDefinitionsResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.definitions.ListJobDefinitions(ctx, &jobv1.ListJobDefinitionsRequest{PageSize: pageSize, PageToken: token})
					all.Definitions = append(all.Definitions, page.GetDefinitions()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				return a.show(all, jobTypes(all.GetDefinitions()), func(w io.Writer) { definitionTable(w, all.GetDefinitions()) })
			})
		},
	}
}

const pageSize = 500

func jobTypes(defs []*jobv1.JobDefinition) []string {
	names := make([]string, len(defs))
	for i, d := range defs {
		names[i] = d.GetJobType()
	}
	return names
}

func definitionTable(w io.Writer, defs []*jobv1.JobDefinition) {
	row(w, "JOB", "VERSION", "STATE", "STORED", "DESCRIPTION")
	for _, d := range defs {
		row(w, d.GetJobType(), versionText(d), switchText(d.GetDisabled()), clock(d.GetCreatedAt()), d.GetDescription())
	}
}

func versionText(d *jobv1.JobDefinition) string {
	if d.GetSemVersion() != "" {
		return fmt.Sprintf("%d (%s)", d.GetVersion(), d.GetSemVersion())
	}
	return fmt.Sprint(d.GetVersion())
}

func switchText(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func (a *app) jobGetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "get JOB[@VERSION]", Short: "Print the text of a definition", Args: cobra.ExactArgs(1),
		Example: "  formicary job get build\n  formicary job get build@3 -o json",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.definitions.GetJobDefinition(ctx, &jobv1.GetJobDefinitionRequest{Id: args[0]})
				if err != nil {
					return err
				}
				d := res.GetDefinition()
				if a.output == "table" {
					_, err := io.WriteString(raw(a.Out), d.GetYaml())
					return err
				}
				return a.show(d, jobTypes([]*jobv1.JobDefinition{d}), nil)
			})
		},
	}
}

func (a *app) jobApplyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "apply FILE", Short: "Check definitions and store each as the newest version of its job", Args: cobra.ExactArgs(1),
		Long: `Check definitions and store each as the newest version of its job. A file may hold several, with lines "---" between them;
none is stored unless all of them are right.`,
		Example: "  formicary job apply job.yaml\n  cat job.yaml | formicary job apply -",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				return a.apply(ctx, cl, args[0])
			})
		},
	}
}

// upload sends a definition; warnings go to stderr.
func (a *app) upload(ctx context.Context, cl *client, file, text string) (*jobv1.CreateJobDefinitionResponse, error) {
	res, err := cl.definitions.CreateJobDefinition(ctx, &jobv1.CreateJobDefinitionRequest{Yaml: text, FileName: file})
	if err != nil {
		return nil, err
	}
	a.printWarnings(res.GetWarnings())
	return res, nil
}

func (a *app) printWarnings(list []*jobv1.Problem) {
	for _, p := range list {
		at := ""
		if p.GetLine() > 0 {
			at = fmt.Sprintf("%s:%d:%d: ", p.GetFile(), p.GetLine(), p.GetColumn())
		}
		printf(a.Err, "%swarning: %s [%s]\n", at, p.GetMessage(), p.GetCode())
	}
}

func (a *app) jobDeleteCmd() *cobra.Command {
	return &cobra.Command{
		Use: "delete JOB", Short: "Remove all versions of a job; its requests keep theirs", Args: cobra.ExactArgs(1),
		Example: "  formicary job delete build",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if _, err := cl.definitions.DeleteJobDefinition(ctx, &jobv1.DeleteJobDefinitionRequest{Id: args[0]}); err != nil {
					return err
				}
				printf(a.Err, "%s deleted\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) jobSwitchCmd(on bool) *cobra.Command {
	use, short := "disable JOB", "Keep new requests of a job from starting"
	if on {
		use, short = "enable JOB", "Let requests of a job start again"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		Example: "  formicary job " + strings.Replace(use, "JOB", "build", 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				d, err := cl.switchJob(ctx, args[0], on)
				if err != nil {
					return err
				}
				one := []*jobv1.JobDefinition{d}
				return a.show(d, jobTypes(one), func(w io.Writer) { definitionTable(w, one) })
			})
		},
	}
}

func (c *client) switchJob(ctx context.Context, id string, on bool) (*jobv1.JobDefinition, error) {
	if on {
		res, err := c.definitions.EnableJobDefinition(ctx, &jobv1.EnableJobDefinitionRequest{Id: id})
		return res.GetDefinition(), err
	}
	res, err := c.definitions.DisableJobDefinition(ctx, &jobv1.DisableJobDefinitionRequest{Id: id})
	return res.GetDefinition(), err
}

func (a *app) jobVersionsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "versions JOB", Short: "List the versions of a job, newest first", Args: cobra.ExactArgs(1),
		Example: "  formicary job versions build",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.definitions.ListJobDefinitionVersions(ctx, &jobv1.ListJobDefinitionVersionsRequest{JobType: args[0], PageSize: pageSize})
				if err != nil {
					return err
				}
				names := make([]string, len(res.GetDefinitions()))
				for i, d := range res.GetDefinitions() {
					names[i] = fmt.Sprintf("%s@%d", d.GetJobType(), d.GetVersion())
				}
				return a.show(res, names, func(w io.Writer) { definitionTable(w, res.GetDefinitions()) })
			})
		},
	}
}
