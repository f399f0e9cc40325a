package cli

import (
	"fmt"
	"io"
	"time"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// showUsage prints what the attempts of tasks used; nothing when none has told it.
func (a *app) showUsage(tasks []*executionv1.Task) error {
	type used struct {
		task string
		at   *executionv1.Attempt
	}
	var all []used
	for _, t := range tasks {
		for _, at := range t.GetAttempts() {
			if at.GetUsage() != nil {
				all = append(all, used{t.GetName(), at})
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	line(a.Out, "")
	return tabulate(a.Out, func(w io.Writer) {
		row(w, "TASK", "TRY", "QUEUE", "PULL", "DOWNLOAD", "RUN", "UPLOAD", "CPU", "MEMORY", "IN", "OUT")
		for _, x := range all {
			u := x.at.GetUsage()
			row(w, x.task, x.at.GetNumber(), between(x.at.GetDispatchedAt(), x.at.GetStartedAt()), millis(u.GetPullMillis()), millis(u.GetDownloadMillis()),
				millis(u.GetRunMillis()), millis(u.GetUploadMillis()), millis(u.GetCpuMillis()), bytesOf(u.GetPeakMemoryBytes()), bytesOf(u.GetBytesIn()), bytesOf(u.GetBytesOut()))
		}
	})
}

// millis is a time; nothing when it is not known.
func millis(n int64) string {
	if n == 0 {
		return ""
	}
	return (time.Duration(n) * time.Millisecond).String()
}

// bytesOf is a size in binary units; nothing when it is not known.
func bytesOf(n int64) string {
	switch {
	case n == 0:
		return ""
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
