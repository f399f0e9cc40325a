package field

// The fields of the language are data: one table for each mapping that a definition can hold. From the tables come the
// names that are suggested for unknown fields, and the JSON Schema.

// Field is one field of a mapping.
type Field struct {
	Name string
	// Form is the JSON Schema of its value.
	Form Form
	// Doc is one line for people: editors show it.
	Doc string
	// Aliases are spellings that are found in the wild and read with a warning.
	Aliases []string
	// Inactive says that this version checks and keeps the field and does not act on it; but a value of idle, in small
	// letters, asks for nothing.
	Inactive bool
	Idle     string
	// Methods are those that act on a field of a task; nil: all that it is for.
	Methods []string
}

// Level is one kind of mapping.
type Level struct {
	// Name of it in the schema.
	Name string
	Doc  string
	// Fields it can have, and those it must have.
	Fields   func() []Field
	Required []string
}

// Names lists the names of the fields of a table.
func Names(fields []Field) []string {
	out := make([]string, len(fields))
	for i := range fields {
		out[i] = fields[i].Name
	}
	return out
}

// Elsewhere returns the field that a word of other systems means; empty when it is none.
func Elsewhere(word string) string {
	switch word {
	case "command", "commands", "cmd", "run":
		return "script"
	case "env":
		return "environment"
	case "image":
		return "container.image"
	case "needs":
		return "dependencies"
	case "task", "name":
		return "task_type"
	}
	return ""
}

// Misspelling returns the right name of a field that is found misspelled in the wild, or the name itself. It is asked
// for every field of a text; a test holds it against the aliases in the tables.
func Misspelling(level, name string) string {
	switch level + "." + name {
	case "task.task_variables":
		return "variables"
	case "job.filter":
		return "skip_if"
	case "task.delay":
		return "delay_between_retries"
	case "cache.keys":
		return "key_paths"
	case "cache.expire_after", "artifacts.expire_after":
		return "expires_after"
	}
	return name
}
