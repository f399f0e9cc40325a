package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	printed   = 100_000_000 // bytes of a long log
	printing  = "seq -f 'line %%08.0f of a log as programs print them, with some words and no number' 20000000 | head -c %d"
	inTheLog  = "line 01100000 of"
	liveLines = 50
)

func logJobs() string {
	return fmt.Sprintf(`job_type: bench-log
tasks:
  - task_type: print
    method: SHELL
    log_limit: 512Mi
    script:
      - %s
`, fmt.Sprintf(printing, printed))
}

const liveJob = `job_type: bench-log-live
tasks:
  - task_type: tick
    method: SHELL
    script:
      - for i in $(seq %d); do date +%%s%%N; sleep 0.13; done
`

// logs measures a log of 100 MB: how long it takes to be printed, its last lines and a search of it, beside a shell, tail and
// grep with a file. Then the time from the write of a line to the sight of somebody who follows.
func logs(ctx context.Context, bin string, c *colony, rep report) error {
	file := filepath.Join(c.dir, "plain.log")
	began := time.Now()
	if err := exec.CommandContext(ctx, "/bin/sh", "-c", "("+fmt.Sprintf(printing, printed)+") >"+file).Run(); err != nil { // #nosec G204 -- ours
		return fmt.Errorf("print to a file: %w", err)
	}
	rep.set("log", "sh_s", time.Since(began).Seconds())
	if err := c.define(ctx, logJobs()); err != nil {
		return err
	}
	began = time.Now()
	id, err := c.submit(ctx, "bench-log")
	if err != nil {
		return err
	}
	e, err := c.wait(ctx, id)
	if err != nil {
		return err
	}
	rep.set("log", "print_s", e.at.Sub(began).Seconds())
	rep.set("log", "print_ratio", rep["log"]["print_s"]/rep["log"]["sh_s"])
	job := "/api/v1/jobs/requests/" + id
	for key, call := range map[string]func() error{
		"tail_ms":      func() error { return c.read(ctx, job+"/tasks/print/log?tail=100", 100*70) },
		"search_ms":    func() error { return c.read(ctx, job+"/logs/search?pattern="+url.QueryEscape(inTheLog), 100) },
		"tail_file_ms": func() error { return exec.CommandContext(ctx, "tail", "-n", "100", file).Run() },
		"grep_ms":      func() error { return exec.CommandContext(ctx, "grep", inTheLog, file).Run() }, // #nosec G204 -- ours
	} {
		ms, err := median(9, call)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		rep.set("log", key, ms)
	}
	return c.live(ctx, bin, rep)
}

// read reads an answer to its end; it has at least so many bytes.
func (c *colony) read(ctx context.Context, path string, least int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || n < least) {
		err = fmt.Errorf("%s: %s, %d bytes", path, res.Status, n)
	}
	return err
}

// live follows a task that prints the time.
func (c *colony) live(ctx context.Context, bin string, rep report) error {
	if err := c.define(ctx, fmt.Sprintf(liveJob, liveLines)); err != nil {
		return err
	}
	id, err := c.submit(ctx, "bench-log-live")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, bin, "request", "logs", id, "tick", "--follow", "--colony", filepath.Join(c.dir, "data", "colony.json")) // #nosec G204 -- the binary to measure
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("follow a log: %w", err)
	}
	var late []time.Duration
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if ns, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64); err == nil {
			late = append(late, time.Since(time.Unix(0, ns)))
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("follow a log: %w", err)
	}
	if len(late) != liveLines {
		return fmt.Errorf("%d lines of %d were seen", len(late), liveLines)
	}
	late = late[liveLines/5:] // the first ones came before anybody looked
	rep.set("log", "live_p50_ms", quantile(late, 0.5))
	rep.set("log", "live_p95_ms", quantile(late, 0.95))
	_, err = c.wait(ctx, id)
	return err
}
