package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// grep prints the lines of a run's logs that a pattern matches, with the task, the number of the line and, if they are
// wanted, the times. Nothing found is the exit code 1, as of the tool of that name.
func (a *app) grep(ctx context.Context, cl *client, req *executionv1.SearchLogsRequest, part logPart) error {
	stream, err := cl.logs.SearchLogs(ctx, req)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
			return fmt.Errorf("the search broke off")
		}
		if err != nil {
			return err
		}
		if end := m.GetEnd(); end != nil {
			return a.grepEnd(end)
		}
		place := m.GetTask()
		if m.GetAttempt() > 1 {
			place += fmt.Sprintf("/%d", m.GetAttempt())
		}
		stamp := ""
		if part.timestamps && m.GetTime() != nil {
			stamp = m.GetTime().AsTime().Format(stampLayout)
		}
		text := m.GetText()
		if m.GetCut() {
			text = "…" + text + "…"
		}
		_, _ = io.WriteString(a.Out, fmt.Sprintf("%s:%d: %s", inert(place, false), m.GetLine(), stamp)+inert(strings.TrimRight(text, "\r"), true)+"\n")
	}
}

func (a *app) grepEnd(end *executionv1.SearchEnd) error {
	for _, missing := range end.GetMissing() {
		printf(a.Err, "not searched: %s\n", missing)
	}
	if end.GetMore() {
		printf(a.Err, "there are more: only the first %d are shown\n", end.GetFound())
	}
	if end.GetFound() == 0 {
		return &exit{code: 1}
	}
	return nil
}
