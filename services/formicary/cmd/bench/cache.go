package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	cacheMiB   = 500
	cacheFiles = 50
)

// cacheJob fills its directory where its cache does not: half of each file is noise, half repeats itself, as libraries do.
const cacheJob = `job_type: bench-cache
tasks:
  - task_type: build
    method: SHELL
    cache: {key: bench, paths: [vendor]}
    script:
      - test -d vendor && exit 0
      - cp -r %s vendor
`

// caches measures how long a cache of 500 MB takes to come back: from the object store, and from the ant's own copy; and how long
// it takes to be stored. The floor is a copy of its files.
func caches(ctx context.Context, c *colony, rep report) (err error) {
	dir, err := os.MkdirTemp("", "formicary-cache-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	from := filepath.Join(dir, "vendor")
	if err := fillCache(from); err != nil {
		return err
	}
	began := time.Now()
	if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(from)); err != nil {
		return fmt.Errorf("copy the files: %w", err)
	}
	rep.set("cache", "floor_s", time.Since(began).Seconds())
	if err := c.define(ctx, fmt.Sprintf(cacheJob, from)); err != nil {
		return err
	}
	use, err := c.cacheUse(ctx)
	if err != nil {
		return err
	}
	rep.set("cache", "store_s", seconds(use.StoreMillis))
	if use, err = c.cacheUse(ctx); err != nil {
		return err
	}
	if !use.Local {
		return errors.New("the ant has no copy of what it has stored")
	}
	rep.set("cache", "local_s", seconds(use.RestoreMillis))
	copies, err := filepath.Glob(filepath.Join(c.dir, "data", "ant", "cache", "*"))
	if err != nil || len(copies) == 0 {
		return fmt.Errorf("find the copies of the ant: %d, %w", len(copies), err)
	}
	for _, path := range copies {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove a copy of the ant: %w", err)
		}
	}
	if use, err = c.cacheUse(ctx); err != nil {
		return err
	}
	if use.Local || use.Outcome != "HIT" {
		return fmt.Errorf("the cache was not fetched: %+v", use)
	}
	rep.set("cache", "restore_s", seconds(use.RestoreMillis))
	return nil
}

// fillCache makes the files.
func fillCache(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- nothing secret
		return fmt.Errorf("make files: %w", err)
	}
	noise := rand.NewChaCha8([32]byte{1})
	block := make([]byte, 1<<20)
	for i := range cacheFiles {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("lib", i)))
		if err != nil {
			return fmt.Errorf("make files: %w", err)
		}
		for range cacheMiB / cacheFiles {
			_, _ = io.ReadFull(noise, block[:len(block)/2])
			copy(block[len(block)/2:], block[:len(block)/4])
			if _, err := f.Write(block); err != nil {
				return errors.Join(fmt.Errorf("make files: %w", err), f.Close())
			}
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("make files: %w", err)
		}
	}
	return nil
}

type cacheUse struct {
	Outcome       string `json:"outcome"`
	Local         bool   `json:"local"`
	RestoreMillis string `json:"restore_millis"`
	StoreMillis   string `json:"store_millis"`
}

func seconds(millis string) float64 {
	ms, _ := strconv.ParseFloat(millis, 64) // as the gateway writes it
	return ms / 1000
}

// cacheUse runs the job and returns what its task had of its cache.
func (c *colony) cacheUse(ctx context.Context) (cacheUse, error) {
	id, err := c.submit(ctx, "bench-cache")
	if err != nil {
		return cacheUse{}, err
	}
	if _, err := c.wait(ctx, id); err != nil {
		return cacheUse{}, err
	}
	var out struct {
		Tasks []struct {
			Attempts []struct {
				Cache cacheUse `json:"cache"`
			} `json:"attempts"`
		} `json:"tasks"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/jobs/requests/"+id+"/tasks", "", nil, &out); err != nil {
		return cacheUse{}, err
	}
	if len(out.Tasks) != 1 || len(out.Tasks[0].Attempts) != 1 {
		return cacheUse{}, fmt.Errorf("request %s: %+v", id, out)
	}
	return out.Tasks[0].Attempts[0].Cache, nil
}
