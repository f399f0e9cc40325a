package condition

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// The evaluator's own counting looks through a stack that grows with every step of a loop, so that a loop of 100,000
// steps takes a minute. Here each step is wrapped and spends from a budget that the activation carries. Beyond the budget
// every step is an error at once: what runs ends, and no logical operator can make it go on for long.

// celBudgetVar is the name of the budget among the variables. No expression can write it.
const celBudgetVar = "@budget"

// celBudget is what an evaluation may still spend.
type celBudget struct{ left int }

func budgetOf(frame *interpreter.ExecutionFrame) *celBudget {
	v, _ := frame.ResolveName(celBudgetVar)
	if b, ok := v.(*celBudget); ok {
		return b
	}
	return &celBudget{}
}

// errSpent is the value of every step beyond the budget.
var errSpent = types.NewErr("the budget is spent")

// spend takes what a step cost off the budget.
func (b *celBudget) spend(v celref.Val) celref.Val {
	b.left -= 1 + sizeOfStep(v)
	return v
}

// sizeOfStep is what the result of a step costs those that handle it. Lists are walked lazily, by steps that count; of a
// mapping all keys are gathered before the first one is used.
func sizeOfStep(v celref.Val) int {
	switch v := v.(type) {
	case types.String:
		return len(v) / bytesPerCost
	case types.Bytes:
		return len(v) / bytesPerCost
	case traits.Mapper:
		n, _ := v.Size().(types.Int)
		return int(n)
	}
	return 0
}

// deepSize is what comparing a value costs: all that is in it, in the units of sizeOfStep, up to limit.
func deepSize(v celref.Val, depth, limit int) int {
	n := 1
	switch v := v.(type) {
	case types.String, types.Bytes:
		n += sizeOfStep(v)
	case traits.Mapper:
		for it := v.Iterator(); depth < source.MaxDepth && n < limit && it.HasNext() == types.True; {
			key := it.Next()
			n += deepSize(key, depth+1, limit-n) + deepSize(v.Get(key), depth+1, limit-n)
		}
	case traits.Lister:
		size, _ := v.Size().(types.Int)
		for i := types.Int(0); i < size && depth < source.MaxDepth && n < limit; i++ {
			n += deepSize(v.Get(i), depth+1, limit-n)
		}
	}
	return n
}

// countSteps wraps a step when an expression is planned. The kinds that the planner tells apart stay what they are.
func countSteps(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch inst := i.(type) {
	case *countedStep, *countedAttribute, *countedCall, *countedConstructor, interpreter.InterpretableConst:
		return i, nil
	case interpreter.InterpretableAttribute:
		return &countedAttribute{inst}, nil
	case interpreter.InterpretableCall:
		return &countedCall{inst}, nil
	case interpreter.InterpretableConstructor:
		return &countedConstructor{inst}, nil
	}
	return &countedStep{i}, nil
}

type countedStep struct{ interpreter.InterpretableV2 }

// Exec runs the step within the budget.
func (s *countedStep) Exec(frame *interpreter.ExecutionFrame) celref.Val {
	b := budgetOf(frame)
	if b.left <= 0 {
		return errSpent
	}
	return b.spend(s.InterpretableV2.Exec(frame))
}

// Eval is Exec for callers of the older interface.
func (s *countedStep) Eval(vars interpreter.Activation) celref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}

type countedAttribute struct {
	interpreter.InterpretableAttribute
}

// Exec runs the step within the budget.
func (s *countedAttribute) Exec(frame *interpreter.ExecutionFrame) celref.Val {
	b := budgetOf(frame)
	if b.left <= 0 {
		return errSpent
	}
	return b.spend(s.InterpretableAttribute.Exec(frame))
}

// Eval is Exec for callers of the older interface.
func (s *countedAttribute) Eval(vars interpreter.Activation) celref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}

type countedConstructor struct {
	interpreter.InterpretableConstructor
}

// Exec runs the step within the budget.
func (s *countedConstructor) Exec(frame *interpreter.ExecutionFrame) celref.Val {
	b := budgetOf(frame)
	if b.left <= 0 {
		return errSpent
	}
	return b.spend(s.InterpretableConstructor.Exec(frame))
}

// Eval is Exec for callers of the older interface.
func (s *countedConstructor) Eval(vars interpreter.Activation) celref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}

type countedCall struct{ interpreter.InterpretableCall }

// Exec runs the call within the budget. The comparisons, whose cost is in their arguments and not in their result, are
// done here.
func (s *countedCall) Exec(frame *interpreter.ExecutionFrame) celref.Val {
	b := budgetOf(frame)
	if b.left <= 0 {
		return errSpent
	}
	args := s.Args()
	switch name := s.Function(); {
	case len(args) == 2 && (name == operators.Equals || name == operators.NotEquals || name == operators.In):
		return b.spend(b.compare(name, args[0].Exec(frame), args[1].Exec(frame)))
	case name == "matches":
		b.left -= costOfMatch
	}
	v := s.InterpretableCall.Exec(frame)
	if list, ok := v.(traits.Lister); ok && s.Function() == "split" {
		n, _ := list.Size().(types.Int)
		b.left -= int(n)
	}
	return b.spend(v)
}

// Eval is Exec for callers of the older interface.
func (s *countedCall) Eval(vars interpreter.Activation) celref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}

// compare is ==, != and in.
func (b *celBudget) compare(name string, left, right celref.Val) celref.Val {
	if types.IsUnknownOrError(left) {
		return left
	}
	if types.IsUnknownOrError(right) {
		return right
	}
	_, mapping := right.(traits.Mapper)
	if name != operators.In || !mapping {
		if b.left -= deepSize(left, 0, b.left) + deepSize(right, 0, b.left); b.left <= 0 {
			return errSpent
		}
	}
	switch name {
	case operators.Equals:
		return types.Equal(left, right)
	case operators.NotEquals:
		return !types.Equal(left, right).(types.Bool)
	}
	if container, ok := right.(traits.Container); ok {
		return container.Contains(left)
	}
	return types.ValOrErr(right, "no such overload")
}
