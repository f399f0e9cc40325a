package result

import (
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// cleaned is an outcome whose texts can be stored: what a program prints is no reason to do its work again, so nothing is
// refused for it. A failure class that is none is left out.
func cleaned(o engine.Outcome) engine.Outcome {
	o.Message, o.Body = storable.Text(o.Message), storable.Text(o.Body)
	for k, v := range o.Outputs {
		key, value := storable.Text(k), storable.Text(v)
		if key == k && value == v {
			continue
		}
		outputs := make(map[string]string, len(o.Outputs))
		for k, v := range o.Outputs {
			outputs[storable.Text(k)] = storable.Text(v)
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

// stored is a log as it can be noted; none where its key cannot be one.
func stored(l execution.StoredLog) execution.StoredLog {
	if !storable.Is(l.Key) {
		l.Key = ""
	}
	l.SHA256 = storable.Text(l.SHA256)
	l.Bytes, l.Stored = max(l.Bytes, 0), max(l.Stored, 0)
	return l
}
