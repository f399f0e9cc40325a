package pg_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
	"github.com/formicary/formicary/services/supervisor/internal/step"
	"github.com/formicary/formicary/services/supervisor/internal/step/steptest"
)

func TestStore(t *testing.T) {
	steptest.Suite(t, func(t testing.TB) step.Store {
		pool := testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
		return pg.New(pool, pool, &listener{})
	})
}
