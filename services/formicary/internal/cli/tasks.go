package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// tasks reads the tasks of the request's current run; a run that was not launched yet has none.
func (c *client) tasks(ctx context.Context, r *jobv1.JobRequest) ([]*executionv1.Task, error) {
	var all []*executionv1.Task
	err := pages(func(token string) (string, error) {
		page, err := c.executions.ListTasks(ctx, &executionv1.ListTasksRequest{RequestId: r.GetId(), Run: r.GetRun(), PageSize: pageSize, PageToken: token})
		all = append(all, page.GetTasks()...)
		return page.GetNextPageToken(), err
	})
	if errs.CodeOf(err) == errs.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// showResult prints a request with its tasks: one document, or the head and a table.
func (a *app) showResult(r *jobv1.JobRequest, tasks []*executionv1.Task, head func(io.Writer)) error {
	switch a.output {
	case "name":
		line(a.Out, r.GetId())
		return nil
	case "table":
		if err := tabulate(a.Out, head); err != nil || len(tasks) == 0 {
			return err
		}
		line(a.Out, "")
		return tabulate(a.Out, func(w io.Writer) { taskTable(w, tasks) })
	}
	doc := struct {
		Request json.RawMessage   `json:"request"`
		Tasks   []json.RawMessage `json:"tasks"`
	}{Tasks: []json.RawMessage{}}
	var err error
	if doc.Request, err = toJSON(r); err != nil {
		return err
	}
	for _, t := range tasks {
		raw, err := toJSON(t)
		if err != nil {
			return err
		}
		doc.Tasks = append(doc.Tasks, raw)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return a.showJSON(raw)
}

func taskTable(w io.Writer, tasks []*executionv1.Task) {
	row(w, "TASK", "STATE", "EXIT", "CLASS", "DURATION", "TRIES", "ANT", "NOTE")
	for _, t := range tasks {
		exit, ant := "", ""
		if n := len(t.GetAttempts()); n > 0 {
			last := t.GetAttempts()[n-1]
			ant = last.GetAntId()
			if last.GetEndedAt() != nil {
				exit = fmt.Sprint(t.GetExitCode())
			}
		}
		row(w, t.GetName(), t.GetState(), exit, t.GetFailureClass(), between(t.GetStartedAt(), t.GetEndedAt()), len(t.GetAttempts()), ant, taskNote(t))
	}
}

// taskNote is the first line of why a task failed or waits.
func taskNote(t *executionv1.Task) string {
	text := t.GetWaitReason()
	if text == "" {
		text = t.GetMessage()
	}
	if n := t.GetItems(); text == "" && n.GetTotal() > 0 {
		text = fmt.Sprintf("%d items, %d failed", n.GetTotal(), n.GetFailed())
	}
	if id := t.GetChildRequestId(); text == "" && id != "" {
		text = "job " + short(id)
	}
	return firstLine(text)
}

func firstLine(text string) string {
	const width = 100
	for i, r := range text {
		if r == '\n' {
			return text[:i]
		}
		if i > width {
			return text[:i] + "…"
		}
	}
	return text
}
