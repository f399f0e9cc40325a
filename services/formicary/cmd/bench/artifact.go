package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	artifactBytes = 2 << 30
	artifactFiles = 20_000
	pieceBytes    = 4 << 10
	pieceRounds   = 50
)

// artifacts measures files between tasks: what does not compress, many small ones, and a piece of a large one.
func artifacts(ctx context.Context, c *colony, rep report) error {
	big := filepath.Join(c.dir, "artifact")
	if err := noise(big, artifactBytes); err != nil {
		return err
	}
	defer func() { _ = os.Remove(big) }()
	began := time.Now()
	if err := copyFile(big, big+".copy"); err != nil {
		return err
	}
	rep.set("artifact", "floor_mib_per_s", artifactBytes/(1<<20)/time.Since(began).Seconds())
	before := c.rss()
	grown := peak(c.rss)
	id, up, down, err := c.passed(ctx, "bench-artifact", "cp "+big+" big")
	rep.set("artifact", "rss_growth_mib", grown()-before)
	if err != nil {
		return err
	}
	rep.set("artifact", "up_mib_per_s", artifactBytes/(1<<20)/up.Seconds())
	rep.set("artifact", "down_mib_per_s", artifactBytes/(1<<20)/down.Seconds())
	if err := c.pieces(ctx, id, rep); err != nil {
		return err
	}
	if err := antMemory(ctx, c.cmd.Path, big, rep); err != nil {
		return err
	}
	_, up, down, err = c.passed(ctx, "bench-artifact-files", fmt.Sprintf("mkdir big; cd big; seq %d | split -l 1", artifactFiles)+" -a 4")
	rep.set("artifact", "small_up_s", up.Seconds())
	rep.set("artifact", "small_down_s", down.Seconds())
	return err
}

// noise writes a file that does not compress.
func noise(name string, n int64) (err error) {
	f, err := os.Create(name) // #nosec G304 -- of the bench
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return err
	}
	defer func() { _ = random.Close() }()
	_, err = io.CopyN(f, random, n)
	return err
}

// copyFile copies a file once by hand, to the disk, and removes the copy.
func copyFile(from, to string) error {
	in, err := os.Open(from) // #nosec G304 -- of the bench
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to) // #nosec G304 -- of the bench
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(to) }()
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20)) // read and written, not shared
	return errors.Join(err, out.Sync(), out.Close())
}

// passed runs a job whose first task keeps what the script makes in big, and whose second gets it; it returns the artifact.
func (c *colony) passed(ctx context.Context, jobType, script string) (artifact string, up, down time.Duration, err error) {
	err = c.define(ctx, "job_type: "+jobType+"\ntasks:\n- task_type: make\n  method: SHELL\n  script: ['"+script+"']\n  artifacts: {paths: [big]}\n  on_completed: use\n"+
		"- task_type: use\n  method: SHELL\n  dependencies: [make]\n  script: ['test -e big']\n")
	if err != nil {
		return "", 0, 0, err
	}
	id, err := c.submit(ctx, jobType)
	if err != nil {
		return "", 0, 0, err
	}
	if e, err := c.wait(ctx, id); err != nil || e.state != "COMPLETED" {
		return "", 0, 0, fmt.Errorf("job %s ended as %s: %w", id, e.state, err)
	}
	var of struct {
		Tasks []struct {
			Attempts []struct {
				Usage struct {
					Upload   int64 `json:"upload_millis,string"`
					Download int64 `json:"download_millis,string"`
				} `json:"usage"`
			} `json:"attempts"`
		} `json:"tasks"`
		Artifacts []struct {
			ID string `json:"id"`
		} `json:"artifacts"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/jobs/requests/"+id+"/tasks", "application/json", nil, &of); err != nil {
		return "", 0, 0, err
	}
	for _, t := range of.Tasks {
		for _, a := range t.Attempts {
			up = max(up, time.Duration(a.Usage.Upload)*time.Millisecond)
			down = max(down, time.Duration(a.Usage.Download)*time.Millisecond)
		}
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/artifacts?request_id="+id, "application/json", nil, &of); err != nil {
		return "", 0, 0, err
	}
	if len(of.Artifacts) != 1 || up == 0 || down == 0 {
		return "", 0, 0, fmt.Errorf("%d artifacts, %s up, %s down", len(of.Artifacts), up, down)
	}
	return of.Artifacts[0].ID, up, down, nil
}

// pieces reads some of the middle of a large file, each from another place.
func (c *colony) pieces(ctx context.Context, artifact string, rep report) error {
	var took []time.Duration
	for i := range int64(pieceRounds) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/artifacts/"+artifact+"/download?file=big", nil)
		if err != nil {
			return err
		}
		from := artifactBytes / pieceRounds * i
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+pieceBytes-1))
		began := time.Now()
		res, err := c.http.Do(req)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil || n != pieceBytes {
			return fmt.Errorf("read %d bytes of %d: %w", n, pieceBytes, err)
		}
		took = append(took, time.Since(began))
	}
	rep.set("artifact", "piece_p50_ms", quantile(took, 0.5))
	return nil
}
