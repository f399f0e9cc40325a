package definition

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec"
)

const text = `job_type: job
tasks:
- task_type: report
  method: SHELL
  script:
    - echo {{.Version}} {{.JobRetry}}
`

// source gives one definition and counts how often it is asked.
type source struct {
	asked int
	err   error
}

func (s *source) Definition(context.Context, string, string) (*jobspec.Definition, error) {
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	return def, err
}

func TestCacheStaysSmall(t *testing.T) {
	c := NewCache(&source{})
	for range 3 * cacheSize {
		if _, err := c.Get(t.Context(), Key{"o", uuid.NewString()}); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.known) > cacheSize {
		t.Errorf("%d definitions are kept", len(c.known))
	}
}

func TestCacheAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{err: errors.New("away")}
		c := NewCache(src)
		k := Key{"o", "1"}
		for range 3 {
			if _, err := c.Get(t.Context(), k); err == nil {
				t.Fatal("no error")
			}
		}
		if src.asked != 1 || c.Known(k) != nil {
			t.Errorf("asked %d times for what is not there", src.asked)
		}
		src.err = nil
		time.Sleep(failureTime)
		for range 2 {
			if _, err := c.Get(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
		if src.asked != 2 || c.Known(k) == nil || c.Known(Key{"other", "1"}) != nil {
			t.Errorf("asked %d times", src.asked)
		}
	})
}

func TestDecodeKeepsKinds(t *testing.T) {
	vars, err := Decode([]byte(`{"n":3,"f":1.5,"big":1e999,"l":[1,{"x":2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%T %T %v %v", vars["n"], vars["f"], vars["big"], vars["l"])
	if got != "int64 float64 1e999 [1 map[x:2]]" {
		t.Error(got)
	}
	if _, err := Decode([]byte(`[]`)); err == nil {
		t.Error("a list is taken for variables")
	}
}
