package attempt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"sync"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// render returns the task as the ant executes it and the environment of the process. What the launch rendered is used as it is,
// unless values that only the claim knows change it.
func (m *Manager) render(ctx context.Context, x *execution.Claimed) (*jobspec.Task, map[string]string, error) {
	vars, err := variables(x)
	if err != nil {
		return nil, nil, err
	}
	outputs := make(map[string]any, len(x.Job.Outputs))
	for k, v := range x.Job.Outputs {
		outputs[k] = v
	}
	task := x.Task
	if task.NeedsRender(outputs) {
		def, err := m.definitions.get(ctx, x.Job.Org, x.Job.Definition)
		if err != nil {
			return nil, nil, err
		}
		if task, err = def.Task(x.Task.Name, vars); err != nil {
			return nil, nil, fmt.Errorf("render task %s: %w", x.Task.Name, err)
		}
	}
	return task, task.Env(vars), nil
}

// variables are those of the run, what only the claim knows and, above all, the outputs of earlier tasks.
func variables(x *execution.Claimed) (jobspec.Vars, error) {
	vars, err := decode(x.Job.Vars)
	if err != nil {
		return nil, fmt.Errorf("read variables of execution %s: %w", x.Job.ID, err)
	}
	vars["JobRetry"] = int64(x.Job.Key.Run - 1)
	vars["TaskType"], vars["TaskRetry"] = x.Task.Name, int64(x.Retries)
	began := x.Job.CreatedAt
	if x.Job.StartedAt != nil {
		began = *x.Job.StartedAt
	}
	vars["JobElapsedSecs"] = int64(x.Job.Now.Sub(began).Seconds())
	for k, v := range x.Job.Outputs {
		vars[k] = v
	}
	return vars, nil
}

// decode reads a JSON object; whole numbers stay whole.
func decode(raw []byte) (jobspec.Vars, error) {
	vars := jobspec.Vars{}
	if len(raw) == 0 {
		return vars, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&vars); err != nil {
		return nil, err
	}
	for k, v := range vars {
		vars[k] = plain(v)
	}
	return vars, nil
}

func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := strconv.ParseFloat(v.String(), 64)
		if err != nil {
			return math.Inf(1)
		}
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range maps.Clone(v) {
			v[k] = plain(v[k])
		}
	}
	return v
}

// cache keeps parsed definitions. A version never changes, so nothing in it gets old; it is emptied when it is full.
type cache struct {
	source Definitions
	mu     sync.Mutex
	known  map[string]*jobspec.Definition
}

const cacheSize = 256

func newCache(source Definitions) *cache {
	return &cache{source: source, known: map[string]*jobspec.Definition{}}
}

func (c *cache) get(ctx context.Context, org, id string) (*jobspec.Definition, error) {
	key := org + "/" + id
	c.mu.Lock()
	def := c.known[key]
	c.mu.Unlock()
	if def != nil {
		return def, nil
	}
	def, err := c.source.Definition(ctx, org, id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= cacheSize {
		clear(c.known)
	}
	c.known[key] = def
	return def, nil
}
