package jobspec

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
	schemaDialect = "https://json-schema.org/draft/2020-12/schema"
	schemaID      = "urn:formicary:job-definition"
)

// levels are all kinds of mappings of the language.
func levels() []field.Level {
	out := []field.Level{
		{Name: "task", Doc: "One step of a job.", Fields: taskTable, Required: []string{"task_type"}},
		{Name: "timeouts", Doc: "Bounds of time.", Fields: timeoutFields, Required: nil},
		{Name: "backoff", Doc: "A growing delay.", Fields: backoffFields, Required: nil},
		{Name: "variable", Doc: "One variable.", Fields: variableFields, Required: []string{"name"}},
		{Name: "param", Doc: "One typed parameter.", Fields: param.Fields, Required: []string{"name"}},
		{Name: "concurrency", Doc: "The limit of runs.", Fields: schedule.ConcurrencyFields, Required: nil},
		{Name: "webhook", Doc: "A URL that is called.", Fields: notify.WebhookFields, Required: []string{"url"}},
		{Name: "notify", Doc: "Who hears of it.", Fields: notify.Fields, Required: []string{"recipients"}},
		{Name: "notification", Doc: "Who hears of it, and how.", Fields: notify.NotificationFields, Required: []string{"channel", "recipients"}},
		{Name: "resource", Doc: "A virtual resource.", Fields: resourceFields, Required: []string{"resource_type"}},
		{Name: "extract_config", Doc: "Properties of a resource that become variables.", Fields: extractFields, Required: nil},
		{Name: "schedule", Doc: "Times at which the job is started.", Fields: schedule.Fields, Required: []string{"cron"}},
		{Name: "trigger", Doc: "Events that make requests.", Fields: trigger.Fields, Required: []string{"type", "name"}},
		{Name: "rate_limit", Doc: "How many requests at most.", Fields: trigger.RateFields, Required: []string{"max"}},
		{Name: "trigger_auth", Doc: "Who may call a webhook.", Fields: trigger.AuthFields, Required: []string{"method", "secret_config"}},
		{Name: "fan_out", Doc: "Runs of a task for each item of a list.", Fields: fanOutFields, Required: nil},
		{Name: "approval_policy", Doc: "Who has to agree.", Fields: approvalFields, Required: nil},
		{Name: "sub_workflow", Doc: "What passes between a job and its child.", Fields: subWorkflowFields, Required: nil},
		{Name: "retry_on", Doc: "Which failures are tried again.", Fields: retryOnFields, Required: nil},
		{Name: "output", Doc: "A value that a task promises to give.", Fields: outputFields, Required: nil},
		{Name: "secret", Doc: "A secret and where it is delivered.", Fields: secretFields, Required: []string{"name"}},
	}
	return append(out, option.Levels()...)
}

// Schema returns the JSON Schema (draft 2020-12) of definitions, for editors. It describes texts that are YAML before
// they are rendered; a text whose templates stand around its fields is none.
func Schema() []byte {
	root := field.Level{Name: "job", Doc: "A job definition of Formicary.", Fields: jobTable, Required: []string{"job_type", "tasks"}}
	out := root.Schema()
	out["patternProperties"] = field.Form{"^" + hiddenKey: field.Form{"description": "For anchors: nothing reads it."}}
	out["$schema"], out["$id"], out["title"] = schemaDialect, schemaID, "Formicary job definition"
	defs := field.Form{}
	for _, l := range levels() {
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
