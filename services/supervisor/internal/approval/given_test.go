package approval

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Votes give values for declared outputs only; of several votes a later one replaces what an earlier one gave.
func TestValuesOfVotes(t *testing.T) {
	type vote struct {
		user    string
		approve bool
		values  map[string]string
		want    string // reason of the refusal
	}
	takes := []plan.Output{
		{Name: "version", Type: "string", Required: true}, {Name: "n", Type: "int"}, {Name: "stage", Type: "string", Enum: []string{"a", "b"}},
	}
	given := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for name, tt := range map[string]struct {
		takes []plan.Output
		votes []vote
		want  map[string]string
	}{
		"none":                  {nil, []vote{{"a", true, nil, ""}}, given()},
		"none are taken":        {nil, []vote{{"a", true, given("x", "1"), "VALUE_UNKNOWN"}}, given()},
		"an unknown one":        {takes, []vote{{"a", true, given("version", "1", "x", "1"), "VALUE_UNKNOWN"}}, given()},
		"a wrong type":          {takes, []vote{{"a", true, given("version", "1", "n", "many"), "VALUE_INVALID"}}, given()},
		"none of the enum":      {takes, []vote{{"a", true, given("version", "1", "stage", "c"), "VALUE_INVALID"}}, given()},
		"NUL":                   {takes, []vote{{"a", true, given("version", "1\x00"), "VALUE_INVALID"}}, given()},
		"no UTF-8":              {takes, []vote{{"a", true, given("version", "\xff"), "VALUE_INVALID"}}, given()},
		"too long":              {takes, []vote{{"a", true, given("version", strings.Repeat("x", maxGiven)), "VALUE_INVALID"}}, given()},
		"too long together":     {takes, []vote{{"a", true, given("version", strings.Repeat("x", maxGiven/2)), ""}, {"b", true, given("version", strings.Repeat("y", maxGiven/2)), "VALUE_INVALID"}}, given("version", strings.Repeat("x", maxGiven/2))},
		"two votes":             {takes, []vote{{"a", true, given("version", "1", "n", "1"), ""}, {"b", true, given("version", "2"), ""}}, given("version", "2", "n", "1")},
		"the second gives it":   {takes, []vote{{"a", true, nil, ""}, {"b", true, given("version", "2"), ""}}, given("version", "2")},
		"nobody gives it":       {takes, []vote{{"a", true, nil, ""}, {"b", true, given("n", "2"), "VALUE_REQUIRED"}}, given()},
		"a rejection":           {takes, []vote{{"a", false, given("n", "2"), ""}, {"b", false, nil, ""}}, given("n", "2")},
		"again after a refusal": {takes, []vote{{"a", true, nil, ""}, {"b", true, nil, "VALUE_REQUIRED"}, {"b", true, given("version", "2"), ""}}, given("version", "2")},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Approval{Task: "ok", State: Pending, Policy: &plan.Approval{MinApprovals: 2}, Takes: tt.takes}
			for i, v := range tt.votes {
				_, _, err := a.Cast(Ballot{User: v.user, Approve: v.approve, Comment: "because", Values: v.values}, time.Unix(int64(i), 0))
				if errs.Reason(err) != v.want {
					t.Errorf("vote %d: %v, want %q", i, err, v.want)
				}
			}
			if got := a.Given(); !maps.Equal(got, tt.want) {
				t.Errorf("given %v, want %v", got, tt.want)
			}
		})
	}
}
