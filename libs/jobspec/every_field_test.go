package jobspec_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// everyField is the definition that uses all of the language.
func everyField(t *testing.T) (text []byte, def *jobspec.Definition, p *plan.Plan) {
	t.Helper()
	text, err := os.ReadFile("testdata/every_field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	def, warnings, err := jobspec.Parse("every_field.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		switch w.Code {
		case source.CodeInactiveField:
		default:
			t.Logf("%v", w)
		}
	}
	params, err := def.CheckParams(value.Vars{"branch": "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(params, value.Vars{
		"JobID": "1", "UserID": "ann", "OrganizationID": "org", "DateYear": 2026, "DateMonth": 7, "DateDay": 1, "YearDay": 182,
		"FullDate": "2026-07-01", "EpochSecs": 1_783_000_000, "WorkflowVersion": 7,
	})
	p, err = def.Plan(params)
	if err != nil {
		t.Fatal(err)
	}
	return text, def, p
}

func TestTheDefinitionWithEverything(t *testing.T) {
	_, _, p := everyField(t)
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back plan.Plan
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), string(again)); diff != "" {
		t.Errorf("after a round trip: %s", diff)
	}
	methods := map[string]bool{}
	for i := range p.Tasks {
		methods[p.Tasks[i].Method] = true
	}
	for _, method := range plan.Methods() {
		if !methods[method] && method != plan.MethodFanOutJob { // which is internal
			t.Errorf("no task of the method %s", method)
		}
	}
}

// TestEveryFieldIsUsed holds the definition against the schema: a new field has to be added to it.
func TestEveryFieldIsUsed(t *testing.T) {
	text, _, _ := everyField(t)
	doc, ok := asJSON(text)
	if !ok {
		t.Fatal("it is YAML only when it is rendered")
	}
	var sch map[string]any
	if err := json.Unmarshal(schema.JSON(), &sch); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	cover(sch, sch, "job", doc, used)
	for level, fields := range schemaLevels(t) {
		for name, f := range fields {
			f, _ := f.(map[string]any)
			switch level + "." + name {
			case "job.variables", "job.backoff": // other names of fields that are used
				continue
			case "notification.channel", "notification.recipients", "notification.when": // another form of notify
				continue
			}
			if f["deprecated"] == nil && !used[level+"."+name] {
				t.Errorf("%s.%s is not used", level, name)
			}
		}
	}
	for _, key := range []string{"404:", "429-431:", "4xx:", "COMPLETED:", "FAILED:", "TIMED_OUT:", "APPROVED:", "REJECTED:", `"*":`} {
		if !strings.Contains(string(text), key) {
			t.Errorf("the route key %s is not used", key)
		}
	}
	for _, action := range []string{
		plan.ActionCompleted, plan.ActionFailed, plan.ActionFatal, plan.ActionRestartJob, plan.ActionRestartTask,
		plan.ActionPauseJob, plan.ActionExecuting, plan.ActionWaitForApproval, "ERR_BUSY",
	} {
		if !strings.Contains(string(text), ": "+action) {
			t.Errorf("the action %s is not used", action)
		}
	}
}

// cover notes which fields of the schema a value uses.
func cover(schema, at map[string]any, level string, val any, used map[string]bool) {
	if ref, ok := at["$ref"].(string); ok {
		level = strings.TrimPrefix(ref, "#/$defs/")
		defs, _ := schema["$defs"].(map[string]any)
		at, _ = defs[level].(map[string]any)
	}
	forms, _ := at["anyOf"].([]any)
	for _, f := range forms {
		f, _ := f.(map[string]any)
		cover(schema, f, level, val, used)
	}
	switch val := val.(type) {
	case []any:
		if items, ok := at["items"].(map[string]any); ok {
			for _, item := range val {
				cover(schema, items, level, item, used)
			}
		}
	case map[string]any:
		rest, _ := at["additionalProperties"].(map[string]any)
		for key, item := range val {
			field, ok := properties(at)[key].(map[string]any)
			if ok {
				used[level+"."+key] = true
			} else {
				field = rest
			}
			cover(schema, field, level, item, used)
		}
	}
}
