// Package openapi carries the OpenAPI document of the REST API, generated from the protos.
package openapi

import _ "embed"

//go:embed formicary.swagger.json
var document string

// JSON returns the document.
func JSON() string { return document }
