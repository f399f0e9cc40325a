// Package openapi carries the OpenAPI document of the REST API, generated from the protos.
package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

//go:embed formicary.swagger.json
var generated string

// JSON returns the document.
func JSON() string { return document() }

var document = sync.OnceValue(func() string {
	doc, err := titled(generated)
	if err != nil {
		panic(err) // the embedded document is broken: generated anew it is whole
	}
	return doc
})

// titled gives the document its name and version and leaves out the services that REST does not serve: the generator names
// it by its first file and lists every service.
func titled(text string) (string, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("read the OpenAPI document: %w", err)
	}
	type tag struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
	}
	var tags []tag
	if err := json.Unmarshal(doc["tags"], &tags); err != nil {
		return "", fmt.Errorf("read the tags of the OpenAPI document: %w", err)
	}
	var paths map[string]map[string]struct{ Tags []string }
	if err := json.Unmarshal(doc["paths"], &paths); err != nil {
		return "", fmt.Errorf("read the paths of the OpenAPI document: %w", err)
	}
	used := map[string]bool{}
	for _, methods := range paths {
		for _, operation := range methods {
			for _, name := range operation.Tags {
				used[name] = true
			}
		}
	}
	tags = slices.DeleteFunc(tags, func(t tag) bool { return !used[t.Name] })
	var err error
	if doc["tags"], err = json.Marshal(tags); err != nil {
		return "", fmt.Errorf("write the tags of the OpenAPI document: %w", err)
	}
	doc["info"] = json.RawMessage(`{"title": "Formicary", "version": "v1"}`)
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the OpenAPI document: %w", err)
	}
	return string(out), nil
}
