package jobspec

import (
	"encoding/json"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
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
		{Name: "param", Doc: "One typed parameter.", Fields: paramFields, Required: []string{"name"}},
		{Name: "concurrency", Doc: "The limit of runs.", Fields: concurrencyFields, Required: nil},
		{Name: "webhook", Doc: "A URL that is called.", Fields: webhookFields, Required: []string{"url"}},
		{Name: "notify", Doc: "Who hears of it.", Fields: notifyFields, Required: []string{"recipients"}},
		{Name: "notification", Doc: "Who hears of it, and how.", Fields: notificationFields, Required: []string{"channel", "recipients"}},
		{Name: "resource", Doc: "A virtual resource.", Fields: resourceFields, Required: []string{"resource_type"}},
		{Name: "extract_config", Doc: "Properties of a resource that become variables.", Fields: extractFields, Required: nil},
		{Name: "schedule", Doc: "Times at which the job is started.", Fields: scheduleFields, Required: []string{"cron"}},
		{Name: "trigger", Doc: "Events that make requests.", Fields: triggerFields, Required: []string{"type", "name"}},
		{Name: "rate_limit", Doc: "How many requests at most.", Fields: rateFields, Required: []string{"max"}},
		{Name: "trigger_auth", Doc: "Who may call a webhook.", Fields: authFields, Required: []string{"method", "secret_config"}},
		{Name: "fan_out", Doc: "Runs of a task for each item of a list.", Fields: fanOutFields, Required: nil},
		{Name: "approval_policy", Doc: "Who has to agree.", Fields: approvalFields, Required: nil},
		{Name: "sub_workflow", Doc: "What passes between a job and its child.", Fields: subWorkflowFields, Required: nil},
		{Name: "retry_on", Doc: "Which failures are tried again.", Fields: retryOnFields, Required: nil},
		{Name: "output", Doc: "A value that a task promises to give.", Fields: outputFields, Required: nil},
		{Name: "secret", Doc: "A secret and where it is delivered.", Fields: secretFields, Required: []string{"name"}},
	}
	return append(out, optionLevels()...)
}

// optionLevels are the mappings of executor options.
func optionLevels() []field.Level {
	out := []field.Level{
		{Name: "artifacts", Doc: "Files that are kept after a task.", Fields: artifactFields, Required: []string{"paths"}},
		{Name: "cache", Doc: "Files that later runs find again.", Fields: cacheFields, Required: []string{"paths"}},
		{Name: "container", Doc: "A container of a task.", Fields: containerFields, Required: nil},
		{Name: "image", Doc: "An image with what it runs.", Fields: imageFields, Required: []string{"name"}},
		{Name: "port", Doc: "A port of a container.", Fields: portFields, Required: []string{"number"}},
		{Name: "service", Doc: "A container beside the task.", Fields: serviceFields, Required: []string{"image"}},
		{Name: "env_from", Doc: "All entries of a secret or config map.", Fields: envFromFields, Required: nil},
		{Name: "env_value_from", Doc: "One entry of a secret or config map.", Fields: envValueFields, Required: []string{"name", "key"}},
		{Name: "reference", Doc: "A secret or config map.", Fields: referenceFields, Required: []string{"name"}},
		{Name: "source", Doc: "A source of a projected volume.", Fields: sourceFields, Required: nil},
		{Name: "source_items", Doc: "Entries of a secret or config map that become files.", Fields: sourceItemFields, Required: []string{"name"}},
		{Name: "token", Doc: "A token for an audience.", Fields: tokenFields, Required: []string{"path"}},
		{Name: "affinity", Doc: "The nodes that a pod must or should be on.", Fields: affinityFields, Required: nil},
		{Name: "required_affinity", Doc: "Terms of which one must hold.", Fields: requiredAffinityFields, Required: nil},
		{Name: "preferred_term", Doc: "A term with a weight.", Fields: preferredFields, Required: nil},
		{Name: "node_term", Doc: "Expressions that must all hold.", Fields: nodeTermFields, Required: nil},
		{Name: "node_expression", Doc: "A comparison of a label or field.", Fields: nodeExpressionFields, Required: []string{"key"}},
		{Name: "toleration", Doc: "A taint that a pod tolerates.", Fields: tolerationFields, Required: nil},
	}
	for _, kind := range volumeKinds() {
		required := []string{"name", "mount_path"}
		switch kind {
		case plan.VolumeHostPath:
			required = append(required, "host_path")
		case plan.VolumeProjected:
			required = append(required, "sources")
		}
		fields := func() []field.Field { return volumeFields(kind) }
		out = append(out, field.Level{Name: "volume_" + kind, Doc: "A volume of the kind " + kind + ".", Fields: fields, Required: required})
	}
	return out
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
