package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
)

func (a *app) jobLintCmd() *cobra.Command {
	strict := false
	c := &cobra.Command{
		Use: "lint FILE...", Short: "Check definitions and store nothing", Args: cobra.MinimumNArgs(1),
		Long: `Check definitions by the same code as the server, without one. All faults are told at once, with line and column.
Exit code 2 when a definition is faulty, with --strict also when there are warnings. "-" reads stdin.`,
		Example: "  formicary job lint job.yaml\n  cat job.yaml | formicary job lint -\n  formicary job lint jobs/*.yaml -o github\n  formicary job lint job.yaml -o sarif > lint.sarif",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.lint(args, strict)
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	return printsIn(c, "table", "json", "yaml", "github", "sarif")
}

// lint checks files here.
func (a *app) lint(files []string, strict bool) error {
	all := source.Problems{}
	bad := false
	for _, file := range files {
		text, err := readFile(file)
		if err != nil {
			return err
		}
		docs, err := documents(file, text)
		if err != nil {
			return err
		}
		var jobs []fileJob
		for _, doc := range docs {
			def, problems, err := checkDocument(file, doc)
			if err != nil {
				return err
			}
			if def != nil {
				if twice := definedTwice(jobs, def.JobType, file, doc.Line); twice != nil {
					problems, def = append(problems, *twice), nil
				} else {
					jobs = append(jobs, fileJob{jobType: def.JobType, line: doc.Line})
				}
			}
			all = append(all, problems...)
			if def == nil || strict && len(problems) > 0 {
				bad = true
			} else if a.output == "table" {
				printf(a.Err, "%s: job %s is valid\n", file, def.JobType)
			}
		}
	}
	if err := a.showProblems(all); err != nil {
		return err
	}
	if bad {
		return &exit{code: exitUsage}
	}
	return nil
}

// documents divides a file into its definitions; an empty one is one that is faulty.
func documents(file, text string) ([]jobspec.Document, error) {
	docs, err := jobspec.Documents(file, []byte(text))
	if err != nil {
		return nil, &exit{code: exitUsage, err: err}
	}
	if len(docs) == 0 {
		docs = []jobspec.Document{{Text: []byte(text), Line: 1}}
	}
	return docs, nil
}

// checkDocument is check for one of the definitions of a file.
func checkDocument(file string, doc jobspec.Document) (*jobspec.Definition, source.Problems, error) {
	def, warnings, err := doc.Parse(file)
	var faults source.Problems
	if err != nil && !errors.As(err, &faults) {
		return nil, nil, err
	}
	return def, append(faults, warnings...), nil
}

func (a *app) showProblems(all source.Problems) error {
	switch a.output {
	case "json", "yaml":
		raw, err := json.Marshal(map[string]any{"problems": all})
		if err != nil {
			return fmt.Errorf("encode problems: %w", err)
		}
		return a.showJSON(raw)
	case "github":
		github(a.Out, all)
		return nil
	case "sarif":
		raw, err := json.Marshal(sarif(a.Version, all))
		if err != nil {
			return fmt.Errorf("encode problems: %w", err)
		}
		return a.showJSON(raw)
	}
	for _, p := range all {
		line(a.Out, p)
	}
	return nil
}

// github prints workflow commands, which become annotations of the lines.
func github(w io.Writer, all source.Problems) {
	value := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, p := range all {
		kind := "error"
		if p.Warning {
			kind = "warning"
		}
		text := p.Message
		if p.Expected != "" {
			text += ", expected " + p.Expected
		}
		printf(w, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", kind, property.Replace(p.File), p.Line, p.Column, property.Replace(p.Code), value.Replace(text))
	}
}

// The part of SARIF 2.1.0 that code scanners need of a linter.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
	}
)

func sarif(version string, all source.Problems) sarifLog {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "formicary", Version: version, Rules: []sarifRule{}}
	known := map[string]bool{}
	for _, p := range all {
		if !known[p.Code] {
			known[p.Code] = true
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{p.Code})
		}
		r := sarifResult{RuleID: p.Code, Level: "error", Message: sarifMessage{p.Message}}
		if p.Warning {
			r.Level = "warning"
		}
		if p.Expected != "" {
			r.Message.Text += ", expected " + p.Expected
		}
		var at sarifLocation
		at.Physical.Artifact.URI = p.File
		if p.Line > 0 {
			at.Physical.Region = &sarifRegion{p.Line, max(p.Column, 1)}
		}
		r.Locations = []sarifLocation{at}
		run.Results = append(run.Results, r)
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}
