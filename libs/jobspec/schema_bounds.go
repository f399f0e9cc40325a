package jobspec

import "github.com/formicary/formicary/libs/jobspec/param"

// Bounds that the tables state and the readers hold.
const (
	maxTasks    = 10_000
	maxRetry    = 1_000
	maxSlots    = 10_000
	maxResource = 1_000_000
)

// hiddenKey begins the keys of a definition that are for people and for anchors: nothing reads them.
const hiddenKey = "x-"

// What becomes of a printed variable that is not set: undefined_variables of the job.
const (
	UndefinedStrict = "strict" // it is a fault, the default
	UndefinedEmpty  = "empty"  // it is empty text, for files of the existing system
)

// outputTypes are the types of parameters that say something without more.
func outputTypes() []string {
	return []string{param.TypeString, param.TypeInt, param.TypeNumber, param.TypeBool, param.TypeDuration, param.TypeJSON}
}
