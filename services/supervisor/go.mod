module github.com/formicary/formicary/services/supervisor

go 1.26.0

require (
	github.com/formicary/formicary/libs v0.0.0
	github.com/formicary/formicary/proto/gen v0.0.0
)

require pgregory.net/rapid v1.3.0 // indirect

replace (
	github.com/formicary/formicary/libs => ../../libs
	github.com/formicary/formicary/proto/gen => ../../proto/gen
)
