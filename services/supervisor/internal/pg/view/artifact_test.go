package view

import (
	"testing"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit/sqltest"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

func TestFiltersAreArguments(t *testing.T) {
	for _, f := range []func(v string) artifact.Filter{
		func(v string) artifact.Filter { return artifact.Filter{Org: v, Name: v} },
		func(v string) artifact.Filter { return artifact.Filter{Org: v, JobType: v, Run: 1} },
		func(v string) artifact.Filter { return artifact.Filter{Org: v, Task: v, Request: uuid.Max} },
	} {
		sqltest.Fixed(t, func(v string) (string, []any) { return artifactsSQL(f(v)) })
	}
}
