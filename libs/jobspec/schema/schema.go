// Package schema has the fields of jobs and tasks in tables, and what is made of the tables of all rooms: the JSON Schema, the
// nulls that are taken out before anything is read, and the warnings of fields that nothing acts on.
package schema

import (
	"encoding/json"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/notify"
	"github.com/formicary/formicary/libs/jobspec/option"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/schedule"
	"github.com/formicary/formicary/libs/jobspec/trigger"
)

const (
	dialect = "https://json-schema.org/draft/2020-12/schema"
	id      = "urn:formicary:job-definition"
)

// Levels are all kinds of mappings of the language.
func Levels() []field.Level {
	out := []field.Level{
		{Name: "task", Doc: "One step of a job.", Fields: Task, Required: []string{"task_type"}},
		{Name: "timeouts", Doc: "Bounds of time.", Fields: Timeouts, Required: nil},
		{Name: "backoff", Doc: "A growing delay.", Fields: Backoff, Required: nil},
		{Name: "variable", Doc: "One variable.", Fields: variables, Required: []string{"name"}},
		{Name: "param", Doc: "One typed parameter.", Fields: param.Fields, Required: []string{"name"}},
		{Name: "concurrency", Doc: "The limit of runs.", Fields: schedule.ConcurrencyFields, Required: nil},
		{Name: "webhook", Doc: "A URL that is called.", Fields: notify.WebhookFields, Required: []string{"url"}},
		{Name: "notify", Doc: "Who hears of it.", Fields: notify.Fields, Required: []string{"recipients"}},
		{Name: "notification", Doc: "Who hears of it, and how.", Fields: notify.NotificationFields, Required: []string{"channel", "recipients"}},
		{Name: "resource", Doc: "A virtual resource.", Fields: Resource, Required: []string{"resource_type"}},
		{Name: "extract_config", Doc: "Properties of a resource that become variables.", Fields: Extract, Required: nil},
		{Name: "schedule", Doc: "Times at which the job is started.", Fields: schedule.Fields, Required: []string{"cron"}},
		{Name: "trigger", Doc: "Events that make requests.", Fields: trigger.Fields, Required: []string{"type", "name"}},
		{Name: "rate_limit", Doc: "How many requests at most.", Fields: trigger.RateFields, Required: []string{"max"}},
		{Name: "trigger_auth", Doc: "Who may call a webhook.", Fields: trigger.AuthFields, Required: []string{"method", "secret_config"}},
		{Name: "fan_out", Doc: "Runs of a task for each item of a list.", Fields: FanOut, Required: nil},
		{Name: "approval_policy", Doc: "Who has to agree.", Fields: Approval, Required: nil},
		{Name: "sub_workflow", Doc: "What passes between a job and its child.", Fields: SubWorkflow, Required: nil},
		{Name: "retry_on", Doc: "Which failures are tried again.", Fields: RetryOn, Required: nil},
		{Name: "output", Doc: "A value that a task promises to give.", Fields: Output, Required: nil},
		{Name: "secret", Doc: "A secret and where it is delivered.", Fields: Secret, Required: []string{"name"}},
	}
	return append(out, option.Levels()...)
}

// JSON returns the JSON Schema (draft 2020-12) of definitions, for editors. It describes texts that are YAML before
// they are rendered; a text whose templates stand around its fields is none.
func JSON() []byte {
	root := field.Level{Name: "job", Doc: "A job definition of Formicary.", Fields: Job, Required: []string{"job_type", "tasks"}}
	out := root.Schema()
	out["patternProperties"] = field.Form{"^" + HiddenKey: field.Form{"description": "For anchors: nothing reads it."}}
	out["$schema"], out["$id"], out["title"] = dialect, id, "Formicary job definition"
	defs := field.Form{}
	for _, l := range Levels() {
		defs[l.Name] = l.Schema()
	}
	defs["matrix"] = matrixForm()
	out["$defs"] = defs
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil // not reached: the schema is made of plain values
	}
	return append(text, '\n')
}

// matrixForm is a mapping of any names to lists; a few names are its own.
func matrixForm() field.Form {
	combinations := func() field.Form { return field.AnyOf(field.ListOf(field.Object()), field.Pattern(field.Template)) }
	return field.Form{
		"type": "object", "description": "The lists whose combinations the task runs for.",
		"properties": field.Form{
			"include": field.Described(combinations(), "Further combinations, or more variables of those that fit.", false),
			"exclude": field.Described(combinations(), "Combinations that are left out.", false),
		},
		"additionalProperties": field.AnyOf(field.Form{"type": "array"}, field.Pattern(field.Template)),
	}
}
