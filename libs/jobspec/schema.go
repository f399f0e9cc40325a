package jobspec

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

const (
	schemaDialect = "https://json-schema.org/draft/2020-12/schema"
	schemaID      = "urn:formicary:job-definition"
)

// levels are all kinds of mappings of the language.
func levels() []level {
	out := []level{
		{"task", "One step of a job.", taskTable, []string{"task_type"}},
		{"timeouts", "Bounds of time.", timeoutFields, nil},
		{"backoff", "A growing delay.", backoffFields, nil},
		{"variable", "One variable.", variableFields, []string{"name"}},
		{"param", "One typed parameter.", paramFields, []string{"name"}},
		{"concurrency", "The limit of runs.", concurrencyFields, nil},
		{"webhook", "A URL that is called.", webhookFields, []string{"url"}},
		{"notify", "Who hears of it.", notifyFields, []string{"recipients"}},
		{"notification", "Who hears of it, and how.", notificationFields, []string{"channel", "recipients"}},
		{"resource", "A virtual resource.", resourceFields, []string{"resource_type"}},
		{"extract_config", "Properties of a resource that become variables.", extractFields, nil},
		{"schedule", "Times at which the job is started.", scheduleFields, []string{"cron"}},
		{"trigger", "Events that make requests.", triggerFields, []string{"type", "name"}},
		{"rate_limit", "How many requests at most.", rateFields, []string{"max"}},
		{"trigger_auth", "Who may call a webhook.", authFields, []string{"method", "secret_config"}},
		{"fan_out", "Runs of a task for each item of a list.", fanOutFields, nil},
		{"approval_policy", "Who has to agree.", approvalFields, nil},
		{"sub_workflow", "What passes between a job and its child.", subWorkflowFields, nil},
		{"retry_on", "Which failures are tried again.", retryOnFields, nil},
		{"output", "A value that a task promises to give.", outputFields, nil},
		{"secret", "A secret and where it is delivered.", secretFields, []string{"name"}},
	}
	return append(out, optionLevels()...)
}

// optionLevels are the mappings of executor options.
func optionLevels() []level {
	out := []level{
		{"artifacts", "Files that are kept after a task.", artifactFields, []string{"paths"}},
		{"cache", "Files that later runs find again.", cacheFields, []string{"paths"}},
		{"container", "A container of a task.", containerFields, nil},
		{"image", "An image with what it runs.", imageFields, []string{"name"}},
		{"port", "A port of a container.", portFields, []string{"number"}},
		{"service", "A container beside the task.", serviceFields, []string{"image"}},
		{"env_from", "All entries of a secret or config map.", envFromFields, nil},
		{"env_value_from", "One entry of a secret or config map.", envValueFields, []string{"name", "key"}},
		{"reference", "A secret or config map.", referenceFields, []string{"name"}},
		{"source", "A source of a projected volume.", sourceFields, nil},
		{"source_items", "Entries of a secret or config map that become files.", sourceItemFields, []string{"name"}},
		{"token", "A token for an audience.", tokenFields, []string{"path"}},
		{"affinity", "The nodes that a pod must or should be on.", affinityFields, nil},
		{"required_affinity", "Terms of which one must hold.", requiredAffinityFields, nil},
		{"preferred_term", "A term with a weight.", preferredFields, nil},
		{"node_term", "Expressions that must all hold.", nodeTermFields, nil},
		{"node_expression", "A comparison of a label or field.", nodeExpressionFields, []string{"key"}},
		{"toleration", "A taint that a pod tolerates.", tolerationFields, nil},
	}
	for _, kind := range volumeKinds() {
		required := []string{"name", "mount_path"}
		switch kind {
		case plan.VolumeHostPath:
			required = append(required, "host_path")
		case plan.VolumeProjected:
			required = append(required, "sources")
		}
		fields := func() []field { return volumeFields(kind) }
		out = append(out, level{"volume_" + kind, "A volume of the kind " + kind + ".", fields, required})
	}
	return out
}

// schema is the JSON Schema of a mapping.
func (l *level) schema() form {
	properties := form{}
	for _, f := range l.fields() {
		value := orNull(f.form)
		properties[f.name] = described(value, f.doc+f.activityNote(), false)
		for _, alias := range f.aliases {
			properties[alias] = described(value, "Misspelled: "+f.name+".", true)
		}
	}
	out := form{"type": "object", "description": l.doc, "properties": properties, "additionalProperties": false}
	if len(l.required) > 0 {
		out["required"] = l.required
	}
	return out
}

// orNull is a value or null, which means that the field is not there.
func orNull(f form) form {
	null := form{"type": "null"}
	if len(f) == 0 {
		return f
	}
	if options, ok := f["anyOf"].([]any); ok && len(f) == 1 {
		return form{"anyOf": append(slices.Clone(options), null)}
	}
	return anyOf(f, null)
}

func described(f form, doc string, deprecated bool) form {
	out := maps.Clone(f)
	if out == nil {
		out = form{}
	}
	out["description"] = doc
	if deprecated {
		out["deprecated"] = true
	}
	return out
}

// Schema returns the JSON Schema (draft 2020-12) of definitions, for editors. It describes texts that are YAML before
// they are rendered; a text whose templates stand around its fields is none.
func Schema() []byte {
	root := level{"job", "A job definition of Formicary.", jobTable, []string{"job_type", "tasks"}}
	out := root.schema()
	out["patternProperties"] = form{"^" + hiddenKey: form{"description": "For anchors: nothing reads it."}}
	out["$schema"], out["$id"], out["title"] = schemaDialect, schemaID, "Formicary job definition"
	defs := form{}
	for _, l := range levels() {
		defs[l.name] = l.schema()
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
func matrixForm() form {
	combinations := func() form { return anyOf(listOf(anObject()), pattern(aTemplate)) }
	return form{
		"type": "object", "description": "The lists whose combinations the task runs for.",
		"properties": form{
			"include": described(combinations(), "Further combinations, or more variables of those that fit.", false),
			"exclude": described(combinations(), "Combinations that are left out.", false),
		},
		"additionalProperties": anyOf(form{"type": "array"}, pattern(aTemplate)),
	}
}
