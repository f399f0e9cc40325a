package schema

import "github.com/formicary/formicary/libs/jobspec/param"

// Bounds that the tables state and the readers hold.
const (
	MaxTasks    = 10_000
	MaxRetry    = 1_000
	MaxSlots    = 10_000
	MaxResource = 1_000_000
)

// HiddenKey begins the keys of a definition that are for people and for anchors: nothing reads them.
const HiddenKey = "x-"

// OutputTypes are the types of parameters that say something without more.
func OutputTypes() []string {
	return []string{param.TypeString, param.TypeInt, param.TypeNumber, param.TypeBool, param.TypeDuration, param.TypeJSON}
}
