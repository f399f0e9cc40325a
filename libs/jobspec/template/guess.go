package template

import (
	"hash/fnv"
	"regexp"
	"strings"
)

// Guess says what conditions and loops do that depend on what is not known. At the upload a text is read under several
// guesses: some combinations of answers never happen (both sides of "if .a … if not .a", a separator without what it
// separates), so a fault of the whole counts only when no guess is without it.
type Guess uint8

// The guesses.
const (
	GuessYes   Guess = iota // conditions hold, loops run once
	GuessNo                 // conditions do not hold, loops do not run
	guessLoops              // loops run once, conditions do not hold
	guessOuter              // conditions hold unless a loop that is not known either stands around them
	guessMixed              // from here on each condition has its own answer, the same wherever it stands
	Guesses    = guessMixed + 8
)

// holds answers a condition; source is its action.
func (g Guess) holds(source string, inLoop bool) bool {
	switch g {
	case GuessYes:
		return true
	case GuessNo, guessLoops:
		return false
	case guessOuter:
		return !inLoop
	default:
	}
	text, negated := condition(source)
	h := fnv.New32a()
	h.Write([]byte{byte(g)})
	h.Write([]byte(text))
	return (h.Sum32()>>7&1 == 1) != negated
}

// runs answers whether a loop has turns.
func (g Guess) runs() bool { return g != GuessNo }

var conditionText = regexp.MustCompile(`^\{\{-?\s*(?:else\s+)?(?:if|with)\s+(.*?)\s*-?\}\}$`)

// condition takes an action apart, so that a condition and its opposite have one text.
func condition(action string) (text string, negated bool) {
	m := conditionText.FindStringSubmatch(action)
	if m == nil {
		return action, false
	}
	text = m[1]
	for {
		if rest, ok := strings.CutPrefix(text, "not "); ok {
			text, negated = strings.TrimSpace(rest), !negated
		} else if inner := strings.TrimSuffix(strings.TrimPrefix(text, "("), ")"); len(inner) == len(text)-2 && !strings.ContainsAny(inner, "()") {
			text = strings.TrimSpace(inner)
		} else {
			break
		}
	}
	if rest, ok := strings.CutPrefix(text, "ne "); ok {
		return "eq " + rest, !negated
	}
	return text, negated
}
