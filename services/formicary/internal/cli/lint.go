package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/formicary/formicary/libs/jobspec"
)

// lint checks a file here, by the same code as the server.
func (a *app) lint(file string) error {
	text, err := readFile(file)
	if err != nil {
		return err
	}
	def, problems, err := jobspec.Parse(file, []byte(text))
	var faults jobspec.Problems
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	problems = append(faults, problems...)
	switch a.output {
	case "json", "yaml":
		raw, err := json.Marshal(map[string]any{"problems": append(jobspec.Problems{}, problems...)})
		if err != nil {
			return fmt.Errorf("encode problems: %w", err)
		}
		if err := a.showJSON(raw); err != nil {
			return err
		}
	default:
		for _, p := range problems {
			line(a.Out, p)
		}
	}
	if len(faults) > 0 {
		return &exit{code: exitUsage}
	}
	if a.output == "table" {
		printf(a.Err, "%s: job %s is valid\n", file, def.JobType)
	}
	return nil
}

// precheck reports the faults of a text without sending it anywhere.
func (a *app) precheck(file, text string) error {
	_, _, err := jobspec.Parse(file, []byte(text))
	var faults jobspec.Problems
	if !errors.As(err, &faults) {
		return err
	}
	for _, p := range faults {
		line(a.Err, p)
	}
	return &exit{code: exitUsage}
}
