package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/formicary/formicary/libs/errs"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
	"github.com/formicary/formicary/services/ant/internal/transfer"
)

const (
	uploadTime = 30 * time.Second // of one try, besides what the size adds
	uploadRate = 1 << 20          // bytes per second that a try may count on
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// upload stores the log and names it in the result. The result does not wait for it for ever.
func (a *attempt) upload(ctx context.Context, res *antv1.Result) {
	log, err := a.log.Pack()
	if err != nil {
		a.unstored(ctx, err)
		return
	}
	defer log.Close()
	giveUp := time.Now().Add(a.m.opts.UploadPatience)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		key, err := a.uploadOnce(ctx, log)
		if err == nil {
			res.LogKey, res.LogBytes, res.LogSha256 = key, log.End, log.Sum
			if res.LogFormat = a.logFormat(); res.GetLogFormat() == antv1.LogFormat_LOG_FORMAT_RECORDS {
				res.LogStoredBytes = log.Size
			}
			return
		}
		if ctx.Err() != nil || errs.Reason(err) == "STALE_ATTEMPT" || time.Now().Add(pause).After(giveUp) {
			a.unstored(ctx, err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (a *attempt) unstored(ctx context.Context, err error) {
	a.m.metrics.uploadFailures.Add(ctx, 1)
	a.m.deps.Log.Warn("the log of an attempt is lost", "attempt", a.uid, "bytes", a.log.Size(), "error", err)
}

func (a *attempt) uploadOnce(ctx context.Context, log *tasklog.Packed) (key string, err error) {
	ctx, cancel := context.WithTimeout(ctx, uploadTime+time.Duration(log.Size/uploadRate)*time.Second)
	defer cancel()
	res, err := a.m.deps.Supervisor.CreateLogUpload(ctx, &antv1.CreateLogUploadRequest{AntId: a.m.opts.Ant, Session: a.m.current(), Uid: a.uid, Size: log.Size})
	if err != nil {
		return "", fmt.Errorf("ask where to put the log: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, res.GetUrl(), log.Reader())
	if err != nil {
		return "", errors.New("the address of the log is none") // without the address, which is a secret
	}
	req.ContentLength = log.Size
	put, err := a.m.deps.HTTP.Do(req)
	if err != nil {
		return "", fmt.Errorf("put log: %w", transfer.Plain(err))
	}
	defer func() { _ = put.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(put.Body, 4<<10)) // so that the connection can be used again
	if put.StatusCode/100 != 2 {
		return "", fmt.Errorf("put log: status %s", put.Status)
	}
	return res.GetKey(), nil
}
