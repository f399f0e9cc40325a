// Package condition compiles and evaluates the expressions of a definition: when, except, skip_if. They are CEL over
// parameters, variables, the job and the tasks that have ended. cel.go compiles, celuses.go finds what an expression looks
// at and gathers it, celcost.go bounds what its evaluation costs.
package condition

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of conditions. An expression is small, each value that it sees is, and what it does is counted: the cost is in
// steps of the evaluation plus a tenth of the bytes that they handle (see celcost.go). Nothing measures time, so that a condition
// ends in the same way on every machine; the bounds keep the worst below 100 ms.
const (
	maxExpression      = 2_000   // characters
	maxExpressions     = 128_000 // bytes of all that a definition holds, each counted once
	maxExpressionDepth = 32
	maxExpressionNodes = 4_000
	maxConditionCost   = 150_000
	maxConditionText   = 64 << 10 // bytes of one text
	maxConditionValue  = 1 << 20  // bytes of a list or mapping
	maxMatchText       = 16 << 10 // bytes that a regular expression is matched with
	maxMatchPattern    = 200
	bytesPerCost       = 10
	costOfMatch        = 20_000
)

// The variables of conditions. params and vars are the same: all that templates see.
const (
	celParams = "params"
	celVars   = "vars"
	celTasks  = "tasks"
	celJob    = "job"
)

// celTask and celJob are what tasks.NAME and job are. Their fields are those of TaskFact and some built-in variables.
type celTask struct {
	State        string            `cel:"state"`
	ExitCode     int64             `cel:"exit_code"`
	FailureClass string            `cel:"failure_class"`
	Message      string            `cel:"message"`
	Outputs      map[string]string `cel:"outputs"`
	Result       string            `cel:"result"`
}

type celJobFacts struct {
	ID           string `cel:"id"`
	Type         string `cel:"type"`
	Retry        int64  `cel:"retry"`
	Elapsed      int64  `cel:"elapsed_secs"`
	State        string `cel:"state"`
	Failed       bool   `cel:"failed"`
	Cancelled    bool   `cel:"cancelled"`
	User         string `cel:"user_id"`
	Organization string `cel:"organization_id"`
}

// Set compiles the expressions of a definition, each once. It is safe for concurrent use.
type Set struct {
	mu   sync.Mutex
	env  *cel.Env
	err  error
	list map[string]*Condition
	size int // of their texts
	// extended counts expressions of tasks with items.
	extended int
}

// Condition is a compiled expression, or what is wrong with its text.
type Condition struct {
	program cel.Program
	Uses    Uses
	Issues  []Issue
}

// Issue is a fault of an expression; at counts characters of its text.
type Issue struct {
	At      int
	Message string
}

// Get compiles an expression or returns it as compiled before. The texts are those of the definition, never values, so
// that their number is bounded.
func (c *Set) Get(text string, items []string) (*Condition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := conditionKey(text, items)
	if found := c.list[key]; found != nil {
		return found, nil
	}
	if c.env == nil && c.err == nil {
		c.env, c.err = newCELEnv()
		c.list = map[string]*Condition{}
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.size += len(text); c.size > maxExpressions {
		return &Condition{Issues: []Issue{{Message: "the definition has too many expressions"}}}, nil
	}
	environment, err := c.withItems(text, items)
	if err != nil {
		return nil, err
	}
	compiled := compileCondition(environment, text, items)
	c.list[key] = compiled
	return compiled, nil
}

// Find returns an expression that was compiled before, or nil.
func (c *Set) Find(text string, items []string) *Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list[conditionKey(text, items)]
}

// conditionKey tells an expression of a task with items from the same one elsewhere.
func conditionKey(text string, items []string) string {
	return text + strings.Join(append([]string{""}, items...), "\x00")
}

// maxItemEnvs bounds the expressions that name variables of items without vars before them.
const maxItemEnvs = 1000

// withItems lets an expression name the variables of items without vars before them.
func (c *Set) withItems(text string, items []string) (*cel.Env, error) {
	var names []cel.EnvOption
	for _, name := range items {
		if strings.Contains(text, name) && value.IsEnvName(name) && !slices.Contains([]string{celParams, celVars, celTasks, celJob}, name) && !celReserved(name) {
			names = append(names, cel.Variable(name, cel.DynType))
		}
	}
	if c.extended++; len(names) == 0 || c.extended > maxItemEnvs {
		return c.env, nil
	}
	return c.env.Extend(names...)
}

// celReserved names words that are no variables of expressions.
func celReserved(name string) bool {
	switch name {
	case "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
		"package", "namespace", "return", "var", "void", "while",
		"bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "timestamp", "duration", "type", "uint", "optional_type":
		return true
	}
	return false
}

// newCELEnv declares what expressions can use: the language, its standard functions and those on text that make no text
// longer than what they are given (join and replace can, see compileCondition). matches is our own: bounded.
func newCELEnv() (*cel.Env, error) {
	anything := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(&celenv.LibrarySubset{ExcludeFunctions: []*celenv.Function{{Name: "matches"}}})),
		ext.Strings(ext.StringsVersion(0)),
		ext.NativeTypes(reflect.TypeFor[celTask](), reflect.TypeFor[celJobFacts](), ext.ParseStructTags(true)),
		cel.Variable(celParams, anything),
		cel.Variable(celVars, anything),
		cel.Variable(celTasks, cel.MapType(cel.StringType, cel.ObjectType("condition.celTask"))),
		cel.Variable(celJob, cel.ObjectType("condition.celJobFacts")),
		cel.Function("matches",
			cel.MemberOverload("text_matches", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(celMatches))),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.ExpressionNodeLimit(maxExpressionNodes),
		cel.ParserErrorRecoveryLimit(10),
	)
}

func celMatches(text, pattern celref.Val) celref.Val {
	t, isText := text.(types.String)
	p, isPattern := pattern.(types.String)
	if !isText || !isPattern {
		return types.MaybeNoSuchOverloadErr(text)
	}
	if len(p) > maxMatchPattern || len(t) > maxMatchText {
		return types.NewErr("too long to match")
	}
	re, err := regexp.Compile(string(p))
	if err != nil {
		return types.NewErr("no regular expression")
	}
	return types.Bool(re.MatchString(string(t)))
}

// compileCondition parses and checks an expression. Faults of the text are in the result.
func compileCondition(environment *cel.Env, text string, items []string) *Condition {
	c := &Condition{}
	ast, issues := environment.Compile(text)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			at := 0
			if e.Location != nil {
				at = runeOffset(text, e.Location.Line(), e.Location.Column())
			}
			c.Issues = append(c.Issues, Issue{At: at, Message: celMessage(e.Message)})
			if strings.HasPrefix(e.Message, celSyntax) {
				break // what follows is mostly a consequence
			}
		}
		return c
	}
	if out := ast.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		c.Issues = append(c.Issues, Issue{Message: "the expression is " + out.String() + " and not true or false"})
		return c
	}
	c.Uses = usesOf(ast, text, items)
	if c.Issues = c.Uses.issues; len(c.Issues) > 0 {
		return c
	}
	program, err := environment.Program(ast, cel.CustomDecoratorV2(countSteps))
	if err != nil {
		c.Issues = append(c.Issues, Issue{Message: "the expression cannot be used"})
		return c
	}
	c.program = program
	return c
}

const celSyntax = "Syntax error: "

// celMessage shortens what the compiler says.
func celMessage(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	message = strings.ReplaceAll(message, " (in container '')", "")
	message = strings.TrimPrefix(message, celSyntax)
	if strings.HasPrefix(message, "token recognition error at: '= ") {
		return "= is no operator, == compares"
	}
	const longest = 200
	if len(message) > longest {
		message = strings.ToValidUTF8(message[:longest], "") + "…"
	}
	return message
}

// runeOffset is the number of characters before a place that the compiler names: lines from 1, columns from 0.
func runeOffset(text string, line, column int) int {
	at := 0
	for range line - 1 {
		before, after, found := strings.Cut(text, "\n")
		if !found {
			break
		}
		at, text = at+len([]rune(before))+1, after
	}
	return at + max(column, 0)
}

// Ways in which the evaluation of a condition fails. The reasons of the evaluator hold values, so they are not told.
var (
	errConditionWork  = errors.New("the condition works too much")
	errConditionKey   = errors.New("the condition asks for a key that is not there")
	errConditionType  = errors.New("the condition compares or computes with a value of the wrong type")
	errConditionOther = errors.New("the condition cannot be evaluated")
	errConditionBool  = errors.New("the condition is neither true nor false")
)

// Holds evaluates the expression.
func (c *Condition) Holds(activation map[string]any) (bool, error) {
	budget := &celBudget{left: maxConditionCost}
	activation[celBudgetVar] = budget
	out, _, err := c.program.Eval(activation)
	if budget.left <= 0 {
		return false, errConditionWork
	}
	if err != nil {
		text := err.Error()
		switch {
		case strings.Contains(text, "too long to match"):
			return false, errConditionWork
		case strings.Contains(text, "no such key"):
			return false, errConditionKey
		case strings.Contains(text, "no such overload"), strings.Contains(text, "conversion"):
			return false, errConditionType
		}
		return false, errConditionOther
	}
	switch v := out.(type) {
	case types.Bool:
		return bool(v), nil
	case types.Null:
		return false, nil // a variable that is not set
	case types.String:
		switch {
		case strings.EqualFold(string(v), "true"):
			return true, nil
		case strings.EqualFold(string(v), "false"), v == "":
			return false, nil
		}
	}
	return false, errConditionBool
}
