package cli

import (
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
		row(w, "TASK", "TRY", "QUEUE", "PULL", "DOWNLOAD", "RUN", "UPLOAD", "OTHER", "CPU", "MEMORY", "IN", "OUT")
		for _, x := range all {
			u := x.at.GetUsage()
			row(w, x.task, x.at.GetNumber(), between(x.at.GetDispatchedAt(), x.at.GetStartedAt()), millis(u.GetPullMillis()), millis(u.GetDownloadMillis()),
				millis(u.GetRunMillis()), millis(u.GetUploadMillis()), millis(other(x.at)), millis(u.GetCpuMillis()), bytesOf(u.GetPeakMemoryBytes()), bytesOf(u.GetBytesIn()), bytesOf(u.GetBytesOut()))
		}
	})
}

// other is the time of an attempt that has ended that is none of those told, in milliseconds.
func other(at *executionv1.Attempt) int64 {
	if at.GetStartedAt() == nil || at.GetEndedAt() == nil {
		return 0
	}
	u, all := at.GetUsage(), at.GetEndedAt().AsTime().Sub(at.GetStartedAt().AsTime())
	return max(0, all.Milliseconds()-u.GetPullMillis()-u.GetDownloadMillis()-u.GetRunMillis()-u.GetUploadMillis())
}

// millis is a time; nothing when it is not known.
func millis(n int64) string {
	if n == 0 {
		return ""
	}
	return (time.Duration(n) * time.Millisecond).String()
}

// bytesOf is a size; nothing when it is not known.
func bytesOf(n int64) string {
	if n == 0 {
		return ""
	}
	return sizeText(n)
}
