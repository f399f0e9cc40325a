package template

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Function is one function of the template language. Arguments are of the kinds that Vars lists; with lenient also
// unknown and missing. Errors say what is wrong and never hold a value.
type Function struct {
	Least, Most int // number of arguments; most -1: any
	lenient     bool
	open        bool // looks at variables by itself
	call        func(in *invocation, args []any) (any, error)
}

// invocation is what a function knows of where it is called.
type invocation struct {
	m    *Machine
	pos  int
	name string
}

// Bounds of single functions.
const (
	maxIterate = 10_000
	maxWidth   = 1_000 // of printf
)

// FunctionNamed finds a function; and, or and call belong to the compiler.
func FunctionNamed(name string) (Function, bool) {
	switch name {
	case "default":
		return Function{2, 2, true, false, defaultTo}, true
	case "required":
		return Function{2, 2, true, false, required}, true
	case "not":
		return Function{1, 1, true, false, not}, true
	case "eq":
		return Function{2, -1, true, false, eq}, true
	case "ne":
		return Function{2, 2, true, false, ne}, true
	case "lt", "le", "gt", "ge":
		return Function{2, 2, false, false, order}, true
	case "index":
		return Function{1, -1, false, false, index}, true
	case "len":
		return Function{1, 1, false, false, length}, true
	case "slice":
		return Function{1, 3, false, false, slice}, true
	case "Dict":
		return Function{0, -1, true, false, dict}, true
	case "Iterate":
		return Function{1, 1, false, false, iterate}, true
	case "Add":
		return Function{2, 2, false, false, add}, true
	case "Random":
		return Function{2, 2, false, true, random}, true
	case "now":
		return Function{0, 0, false, true, now}, true
	}
	if f, ok := hostFunction(name); ok {
		return f, true
	}
	return textFunction(name)
}

// defaultTo replaces what is not set, null or empty text. 0 and false are values.
func defaultTo(_ *invocation, args []any) (any, error) {
	switch args[1] {
	case nil, "":
		return args[0], nil
	}
	if _, unset := args[1].(Missing); unset {
		return args[0], nil
	}
	return args[1], nil
}

func required(in *invocation, args []any) (any, error) {
	switch v := args[1].(type) {
	case Missing:
		return nil, &Fault{pos: in.pos, Code: source.CodeUndefinedVariable, field: v.Name, message: "the variable " + v.Name + " is required"}
	case nil:
		return nil, errors.New("the value is required")
	case string:
		if v == "" {
			return nil, errors.New("the value is required")
		}
	}
	return args[1], nil
}

func not(_ *invocation, args []any) (any, error) {
	holds, known := truth(args[0])
	if !known {
		return Unknown{}, nil
	}
	return !holds, nil
}

// eq compares the first argument with each of the others.
func eq(_ *invocation, args []any) (any, error) {
	for i, a := range args {
		switch a.(type) {
		case Unknown:
			return Unknown{}, nil
		case Missing:
			args[i] = nil
		}
	}
	for _, b := range args[1:] {
		if value.Same(args[0], b) {
			return true, nil
		}
	}
	return false, nil
}

func ne(in *invocation, args []any) (any, error) {
	v, err := eq(in, args)
	if same, ok := v.(bool); ok {
		return !same, err
	}
	return v, err
}

// order compares numbers, also where one of them is text, or two texts.
func order(in *invocation, args []any) (any, error) {
	var less, equal bool
	a, aText := args[0].(string)
	b, bText := args[1].(string)
	if aText && bText {
		less, equal = a < b, a == b
	} else {
		n, ok := compareNumbers(args[0], args[1])
		if !ok {
			return nil, errors.New("the values cannot be ordered")
		}
		less, equal = n < 0, n == 0
	}
	switch in.name {
	case "lt":
		return less, nil
	case "le":
		return less || equal, nil
	case "gt":
		return !less && !equal, nil
	default:
		return !less, nil
	}
}

// maxCompared bounds numbers that are compared by all of their digits.
const maxCompared = 1000

// compareNumbers orders two numbers, or texts that are numbers, by all of their digits.
func compareNumbers(a, b any) (order int, ok bool) {
	if i, whole := AsInt(a); whole {
		if k, whole := AsInt(b); whole {
			return cmp.Compare(i, k), true
		}
	}
	x, isX := asFloat(a)
	y, isY := asFloat(b)
	if !isX || !isY || x != y || x == 0 {
		return cmp.Compare(x, y), isX && isY
	}
	s, t := value.Text(a), value.Text(b)
	if len(s) > maxCompared || len(t) > maxCompared { // their exponents could be anything
		return 0, true
	}
	p, isX := new(big.Rat).SetString(s)
	q, isY := new(big.Rat).SetString(t)
	if !isX || !isY {
		return 0, true
	}
	return p.Cmp(q), true
}

func index(in *invocation, args []any) (any, error) {
	v := args[0]
	for _, key := range args[1:] {
		var ok bool
		switch x := v.(type) {
		case map[string]any:
			name, isText := key.(string)
			if !isText {
				return nil, errors.New("the key of a mapping is text")
			}
			item, found := x[name]
			if !found {
				return Missing{Name: name, pos: in.pos}, nil
			}
			v, ok = canonOrUnknown(item)
		case []any:
			i, isInt := AsInt(key)
			if !isInt || i < 0 || i >= int64(len(x)) {
				return nil, errors.New("the index is out of range")
			}
			v, ok = canonOrUnknown(x[i])
		case Unknown:
			return x, nil
		case nil:
			return Missing{Name: textName(key), pos: in.pos}, nil
		}
		if !ok {
			return nil, errors.New("the value is no list and no mapping")
		}
	}
	return v, nil
}

func textName(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return "item"
}

func length(_ *invocation, args []any) (any, error) {
	switch v := args[0].(type) {
	case string:
		return int64(len(v)), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		return int64(len(v)), nil
	case nil:
		return int64(0), nil
	}
	return nil, errors.New("the value has no length")
}

func slice(_ *invocation, args []any) (any, error) {
	size, err := length(nil, args)
	if err != nil {
		return nil, err
	}
	from, to := int64(0), size.(int64) //nolint:forcetypeassert // of length, three lines above
	for i, arg := range args[1:] {
		n, ok := AsInt(arg)
		if !ok || n < 0 || n > to {
			return nil, errors.New("the index is out of range")
		}
		if i == 0 {
			from = n
		} else {
			to = n
		}
	}
	if from > to {
		return nil, errors.New("the index is out of range")
	}
	switch v := args[0].(type) {
	case string:
		return strings.ToValidUTF8(v[from:to], "\uFFFD"), nil
	case []any:
		return v[from:to:to], nil
	}
	return nil, errors.New("the value is no text and no list")
}

// dict makes a mapping of keys and values in turn. Its keys decide loops, so they count also while values are unknown.
func dict(in *invocation, args []any) (any, error) {
	if len(args)%2 != 0 {
		return nil, errors.New("each key needs a value")
	}
	out := make(map[string]any, len(args)/2)
	for i := 0; i < len(args); i += 2 {
		val := args[i+1]
		if m, ok := val.(Missing); ok {
			var err error
			if val, err = in.m.unset(m); err != nil {
				return nil, err
			}
		}
		switch key := args[i].(type) {
		case string:
			out[key] = val
		case Unknown:
			return Unknown{}, nil
		case Missing:
			return nil, undefined(key)
		default:
			return nil, errors.New("keys are text")
		}
	}
	return out, nil
}

// iterate gives the numbers from 0 to below n.
func iterate(in *invocation, args []any) (any, error) {
	n, ok := AsInt(args[0])
	if !ok || n < 0 {
		return nil, errors.New("the count is no number")
	}
	if n > maxIterate {
		return nil, &Fault{pos: in.pos, Code: source.CodeTemplateLimit, message: fmt.Sprintf("Iterate goes beyond %d", maxIterate)}
	}
	out := make([]any, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out, nil
}

func add(_ *invocation, args []any) (any, error) {
	a, ok := wholeOf(args[0])
	b, ok2 := wholeOf(args[1])
	if ok && ok2 {
		n, ok := exact.Number(json.Number(a.Add(a, b).String()))
		if !ok {
			return nil, ErrNumberRange
		}
		return n, nil
	}
	x, ok := asFloat(args[0])
	y, ok2 := asFloat(args[1])
	if !ok || !ok2 {
		return nil, errors.New("the values are no numbers")
	}
	return x + y, nil
}

// wholeOf reads a whole number of any size.
func wholeOf(v any) (*big.Int, bool) {
	if i, ok := AsInt(v); ok {
		return big.NewInt(i), true
	}
	text := value.Text(v)
	if _, isNumber := AsNumber(v); !isNumber || strings.Trim(text, "-0123456789") != "" {
		return nil, false
	}
	return new(big.Int).SetString(text, 10)
}

// random gives a number from min to max, both included. It depends on the job, the attempt and the place in the text
// only: rendering a task again gives the same number. Where it decides the structure it does not depend on the attempt:
// the plan of a run does not change.
func random(in *invocation, args []any) (any, error) {
	low, ok := AsInt(args[0])
	high, ok2 := AsInt(args[1])
	if !ok || !ok2 || high < low || high-low < 0 || high-low == math.MaxInt64 {
		return nil, errors.New("the bounds are no numbers in order")
	}
	h := fnv.New64a()
	seeds := []string{"JobID", "JobRetry", "TaskRetry", "TaskType"}
	if in.m.structural {
		seeds = seeds[:1]
	}
	for _, name := range seeds {
		v := in.m.Scope.Get(name, in.pos)
		if _, ok := v.(Unknown); ok {
			return v, nil
		}
		if _, ok := v.(Missing); !ok {
			h.Write([]byte(value.Text(v) + "\x00"))
		}
	}
	src := rand.New(rand.NewPCG(h.Sum64(), in.m.path+uint64(in.pos))) //nolint:gosec // repeatable by design
	return low + src.Int64N(high-low+1), nil
}

// now is the time of the rendering: this package has no clock, EpochSecs says it.
func now(in *invocation, _ []any) (any, error) {
	switch v := in.m.Scope.Get("EpochSecs", in.pos).(type) {
	case Unknown:
		return v, nil
	case Missing:
		return nil, undefined(v)
	default:
		return formatTime(v, time.RFC3339)
	}
}

// formatTime writes a time that is given as seconds since 1970 or as RFC 3339 text.
func formatTime(v any, layout string) (string, error) {
	if secs, ok := AsInt(v); ok {
		if secs < -62135596800 || secs > 253402300799 { // years 1 to 9999
			return "", errors.New("the time is out of range")
		}
		return time.Unix(secs, 0).UTC().Format(layout), nil
	}
	text, _ := v.(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return "", errors.New("the value is no time")
	}
	return t.Format(layout), nil
}

// percent100 is how many hundredths of a whole a part is, at most 100.
func percent100(_ *invocation, args []any) (any, error) {
	part, ok := AsInt(args[0])
	whole, ok2 := AsInt(args[1])
	switch {
	case !ok || !ok2:
		return nil, errors.New("the values are no integers")
	case whole <= 0, part >= whole:
		return int64(100), nil
	case part > math.MaxInt64/100 || part < math.MinInt64/100:
		return part / (whole / 100), nil
	}
	return part * 100 / whole, nil
}
