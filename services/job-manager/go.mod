module github.com/formicary/formicary/services/job-manager

go 1.26

require (
	github.com/formicary/formicary/libs v0.0.0
	github.com/formicary/formicary/proto/gen v0.0.0
)

replace (
	github.com/formicary/formicary/libs => ../../libs
	github.com/formicary/formicary/proto/gen => ../../proto/gen
)
