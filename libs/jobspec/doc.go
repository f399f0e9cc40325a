// Package jobspec reads job definitions: it checks them at the upload, renders them into the plan of a run at the
// launch, and renders single tasks again at their claim. It is pure: no I/O, no clock, no state but a few renderings
// that a Definition keeps.
//
// # The rooms
//
//	source     the text: lines and columns, YAML nodes, problems at places
//	value      values of variables: kinds, comparison, text
//	template   templates: compile, execute, functions, hosts, guesses
//	condition  CEL: compile, what an expression looks at, what it costs
//	cron       cron text
//	plan       what a run does, as plain data: Plan, Task, Spec, Decision (imports value)
//	environ    the environment of a task's process (imports plan)
//	field      how tables of fields are written, and their JSON Schema
//	read       the values of nodes with what one rendering knows (imports condition, environ, field, plan)
//	option     options of executors: containers, volumes, placement, artifacts, cache (imports field, plan, read)
//	notify     who hears of a job (imports field, plan, read)
//	param      typed parameters and the types of outputs (imports field, plan, read)
//	schedule   when a job runs and how long runs are kept (imports cron, field, plan, read)
//	trigger    events that make requests (imports field, read)
//	graph      what the tasks of a job say of each other: edges, cycles, order (imports field, option, plan, read)
//	errorrule  rules that turn failures into error codes and actions (imports plan)
//	schema     the fields of jobs and tasks, and what is made of all tables: JSON Schema, nulls, warnings (imports the rooms above)
//	lint       warnings about what templates print and when it is known (imports environ, param, plan, read)
//	jobspec    the language: Definition, and how a plan is made of it
//
// Each imports only those above it; most import source, value and template. Services read plans by the package plan alone.
// Here definition.go is the beginning of everything, job.go and task.go read the two large mappings, render.go
// and item.go render a plan, a task and an item.
//
// # Templates choose structure, values cannot change it
//
// A definition is YAML with Go templates around and inside of it. Were the values of variables pasted into the text
// before YAML reads it, a value with a line break could add fields. So a rendering goes in three steps:
//
//	source ──template──▶ text with tokens ──YAML──▶ nodes ──values──▶ plan
//	                     "script: ⟦0⟧"             scalar "⟦0⟧"      whatever .Cmd holds, as one text
//
// The template is parsed by text/template/parse, whose language it is, and compiled here into statements. Text is
// copied; an action that would print a value writes a token instead: a number between two characters of Unicode's
// private area, which no definition may contain and YAML takes for letters. The text with tokens is read as YAML, and
// only then each token inside a scalar is replaced by its value. Quotes, colons and line breaks in a value are just
// characters by then. A plain scalar that is one token takes the value's own type, so that "retry: {{.Retries}}" is a
// number; a token in a tag or an anchor is refused, and so is one in a key, except in mappings whose keys are names of
// the user's own (environment, variables, headers, labels …). Where a field divides its text, as in "name=value", it
// divides what the source wrote, and not what a value says.
//
// The statements are executed here and not by text/template, for four reasons. A printed value is evaluated when it is
// asked for and not when it is printed, with the variables of the task in whose section it stands. Variables can be
// unknown: at the upload all are, and conditions are read under several guesses. Work is counted (steps, parts of expressions,
// bytes that functions handle), so that no template runs long. And errors name the variable and its place, never a
// value. Values have no methods and there is no call.
//
// # Shapes
//
// The text with tokens, its nodes and its tokens are a shape. It depends on nothing but the variables that conditions
// and loops looked at. These are recorded, and a rendering for which they are equal takes the shape as it is: a
// definition that prints variables but has no condition is read as YAML once, and the late rendering of one task of a
// thousand costs that task. A text without templates is its own shape and its plan is made at the upload.
//
// # What is known when
//
//   - Parse: nothing. Whatever depends on a variable passes; the rest is checked. A text whose structure no guess can
//     read is accepted with a warning, if its header can be read.
//
//   - Plan: parameters, built-ins, the job's variables. A variable that is not set may be an output of an earlier task:
//     the task that prints it is Late. In a task that starts at once it is a fault, and so it is in a field that the
//     plan itself needs (edges, method, tags, timeouts).
//
//   - Task: everything. What is not set is a fault.
//
//   - Decide: everything but secrets and items, when a task is about to start whose condition, fork, policy or items
//     could not be known before. Item renders one item of a fan-out at its claim; before it, the item's variables are
//     unknown whatever else has their names.
//
// PlanWith gives templates a host that counts and submits jobs. What it answers becomes a variable of the plan with a name
// that nobody else can give, so the same rendering gives the same text and asks nothing again.
//
// # Conditions
//
// when, except and skip_if hold CEL, or a template that renders true. A value never becomes a part of an expression: a
// text with a template in it is a template. Expressions are compiled at the upload, with the place of each fault, and
// kept with the definition; their evaluation spends from a budget of steps, so that it ends in the same way everywhere.
// What is not set is null there.
//
// # Variables
//
// In the conditions of templates, and for default, required, eq, ne and not, a variable that is not set counts as nothing.
//
// Precedence, from low to high: the job's variables, built-ins, the task's variables, parameters, outputs of earlier
// tasks. After the launch the caller gives the job's variables back among the others; one that still has the job's own
// value stays below the task's.
package jobspec
