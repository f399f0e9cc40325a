package result

import (
	"strings"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// clean makes texts of an ant what every store and every message takes: UTF-8 without NUL, U+FFFD standing for the rest.
// What a program prints is no reason to do its work again, so nothing is refused for it.
func clean(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

// cleaned is an outcome whose texts are clean. A failure class that is none is left out.
func cleaned(o engine.Outcome) engine.Outcome {
	o.Message, o.Body = clean(o.Message), clean(o.Body)
	for k, v := range o.Outputs {
		key, value := clean(k), clean(v)
		if key == k && value == v {
			continue
		}
		outputs := make(map[string]string, len(o.Outputs))
		for k, v := range o.Outputs {
			outputs[clean(k)] = clean(v)
		}
		o.Outputs = outputs
		break
	}
	switch o.FailureClass {
	case "", engine.ClassUser, engine.ClassTimeout, engine.ClassOOM, engine.ClassInfra, engine.ClassCancelled, engine.ClassRejected:
	default:
		o.FailureClass = ""
	}
	return o
}

// key is the key of a log; none where it cannot be one.
func key(s string) string {
	if clean(s) != s {
		return ""
	}
	return s
}
