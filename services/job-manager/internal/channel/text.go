package channel

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

func remaining(ctx context.Context) time.Duration {
	until, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return time.Until(until)
}

const (
	askTime   = 2 * time.Second
	maxOutput = 2 << 10 // of each task
	maxBody   = 16 << 10
)

// text says to people what happened.
func (c *Channels) text(ctx context.Context, d *notify.Delivery) string {
	m := &d.Message
	var b strings.Builder
	if m.Text != "" {
		b.WriteString(m.Text + "\n\n")
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range [...][2]string{
		{"Job", m.JobType},
		{"Request", m.RequestID.String()},
		{"Run", fmt.Sprint(m.Run)},
		{"Task", m.Task},
		{"State", m.State},
		{"Exit code", exitCode(m)},
		{"Error", m.ErrorCode},
		{"Message", m.ErrorMessage},
		{"Started", moment(m.StartedAt)},
		{"Ended", moment(m.EndedAt)},
		{"Took", took(m)},
		{"Link", c.link(m)},
	} {
		if f[1] != "" {
			_, _ = fmt.Fprintf(w, "%s:\t%s\n", f[0], strings.ReplaceAll(f[1], "\n", "\n\t")) // a builder takes all
		}
	}
	_ = w.Flush()
	if m.Task == "" {
		c.tasksOf(ctx, m, &b)
	}
	if b.Len() > maxBody {
		return strings.ToValidUTF8(b.String()[:maxBody], "") + "…\n"
	}
	return b.String()
}

// tasksOf adds the tasks of a run. They are worth a moment: a message goes without them when supervisor does not answer.
func (c *Channels) tasksOf(ctx context.Context, m *notify.Message, b *strings.Builder) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	tasks, err := c.tasks(ctx, m.OrgID, m.RequestID, m.Run)
	if err != nil || len(tasks) == 0 {
		return
	}
	b.WriteString("\nTasks:\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, t := range tasks {
		code := ""
		if t.ExitCode != 0 {
			code = fmt.Sprintf("exit code %d", t.ExitCode)
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\n", t.Name, t.State, code)
	}
	_ = w.Flush()
	for _, t := range tasks {
		if out := strings.TrimSpace(t.Output); out != "" {
			if len(out) > maxOutput {
				out = strings.ToValidUTF8(out[:maxOutput], "") + "…"
			}
			fmt.Fprintf(b, "\nOutput of %s:\n%s\n", t.Name, out)
		}
	}
}

func exitCode(m *notify.Message) string {
	if m.ExitCode == nil {
		return ""
	}
	return fmt.Sprint(*m.ExitCode)
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func took(m *notify.Message) string {
	if d := m.Duration(); d > 0 {
		return d.Round(time.Millisecond).String()
	}
	return ""
}
