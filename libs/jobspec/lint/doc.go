// Package lint warns of what a definition says and can hardly mean: values that whoever submits a job chooses and that
// become text of a script, variables that nothing gives, and variables that can never be known in time. It looks at the templates
// of the text as a whole, after the job is read, and at the values of none.
package lint
