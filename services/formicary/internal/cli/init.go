package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/jobspec/schema"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/formicary/examples"
)

func (a *app) jobInitCmd() *cobra.Command {
	var list, stdout bool
	c := &cobra.Command{
		Use: "init [EXAMPLE]", Short: "Write an example to begin with", Args: cobra.MaximumNArgs(1),
		Long: `Write an example to a file of its name in the current directory, or list them. A file that exists stays as it is. The jobs
that it forks are in the same file.`,
		Example: "  formicary job init hello && formicary run hello.yaml\n  formicary job init --list\n  formicary job init ci-build-test && formicary run ci-build-test.yaml\n  formicary job init etl-partitions --stdout",
		RunE: func(_ *cobra.Command, args []string) error {
			if list || len(args) == 0 {
				return a.listExamples()
			}
			return a.writeExample(args[0], stdout)
		},
	}
	c.Flags().BoolVar(&list, "list", false, "list the examples")
	c.Flags().BoolVar(&stdout, "stdout", false, "print the example instead of writing a file")
	return c
}

func (a *app) listExamples() error {
	list, err := examples.List()
	if err != nil {
		return err
	}
	switch a.output {
	case "table":
		return tabulate(a.Out, func(w io.Writer) {
			row(w, "KIND", "NAME", "SHOWS")
			for _, e := range list {
				row(w, e.Category, e.Name, e.Title)
			}
		})
	case "name":
		for _, e := range list {
			line(a.Out, e.Name)
		}
		return nil
	}
	type entry struct {
		Name     string `json:"name"`
		Category string `json:"category"`
		Title    string `json:"title"`
	}
	out := make([]entry, len(list))
	for i, e := range list {
		out[i] = entry{e.Name, e.Category, e.Title}
	}
	raw, err := json.Marshal(map[string]any{"examples": out})
	if err != nil {
		return fmt.Errorf("encode examples: %w", err)
	}
	return a.showJSON(raw)
}

func (a *app) writeExample(name string, stdout bool) error {
	e, ok, err := examples.Find(name)
	switch {
	case err != nil:
		return err
	case !ok:
		return usageError(fmt.Errorf("no example is named %q; formicary job init --list shows them", name))
	}
	text, err := e.Whole()
	if err != nil {
		return err
	}
	if stdout {
		_, err := io.WriteString(raw(a.Out), text)
		return err
	}
	file := name + ".yaml"
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) // #nosec G302 G304 -- the user's own file, by the name of an example
	if errors.Is(err, fs.ErrExist) {
		return usageError(fmt.Errorf("%s exists and stays as it is", file))
	}
	if err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	if _, err := f.WriteString(a.editorLine() + text); err != nil {
		return errors.Join(fmt.Errorf("write example: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	how := e.Run
	if how == "" {
		how = "formicary run " + file
	}
	printf(a.Err, "%s written. Run it with:  %s\n", file, how)
	return nil
}

// editorLine tells editors with a YAML language server where the schema is.
func (a *app) editorLine() string {
	addr := defaultServer
	if t, err := a.target(); err == nil && t.http != "" {
		addr = t.server()
	}
	if !strings.HasPrefix(addr, "https://") {
		addr = "http://" + addr
	}
	return "# yaml-language-server: $schema=" + addr + "/schemas/job.v1.json\n"
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of definitions, for editors", Args: cobra.NoArgs,
		Long: `Print the JSON Schema of definitions. Editors that speak the YAML language server check against it with a first line
  # yaml-language-server: $schema=formicary.schema.json
A server serves it at /schemas/job.v1.json; formicary job init writes the line.`,
		Example: "  formicary schema > formicary.schema.json",
		RunE: func(*cobra.Command, []string) error {
			_, err := a.Out.Write(schema.JSON())
			return err
		},
	}
}

func (a *app) jobPluginsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "plugins", Short: "List the jobs that are published for others to fork", Args: cobra.NoArgs, Example: "  formicary job plugins",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &jobv1.ListPluginsResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.definitions.ListPlugins(ctx, &jobv1.ListPluginsRequest{PageSize: pageSize, PageToken: token})
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
