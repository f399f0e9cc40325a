package read

import (
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// Outcome reads a key of on_exit_code. States may be written in any case, as in the existing system.
func (r *Reader) Outcome(key string, at *source.Node) (string, plan.Key, error) {
	parsed, err := plan.ParseKey(key)
	if err == nil {
		return key, parsed, nil
	}
	upper := strings.ToUpper(strings.TrimSpace(key))
	if parsed, upperErr := plan.ParseKey(upper); upperErr == nil && parsed.State != "" {
		r.ReadAs(at, "the outcome "+source.QuoteName(key)+" is read as "+upper, upper)
		return upper, parsed, nil
	}
	return key, parsed, err
}
