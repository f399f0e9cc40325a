package cli

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// What an attempt did not pull, download, run or upload is told as well; clocks that disagree make no time.
func TestOtherTimeOfAnAttempt(t *testing.T) {
	begun := time.Date(2026, 11, 29, 16, 0, 0, 0, time.UTC)
	at := &executionv1.Attempt{StartedAt: timestamppb.New(begun), Usage: &executionv1.Usage{PullMillis: 1, DownloadMillis: 20, RunMillis: 300, UploadMillis: 4000}}
	for _, c := range []struct {
		ended *timestamppb.Timestamp
		want  int64
	}{
		{nil, 0},
		{timestamppb.New(begun.Add(10 * time.Second)), 5679},
		{timestamppb.New(begun.Add(time.Second)), 0},
	} {
		at.EndedAt = c.ended
		if got := other(at); got != c.want {
			t.Errorf("ended at %v: %d, want %d", c.ended, got, c.want)
		}
	}
}
