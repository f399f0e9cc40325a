// Package routetest lists the methods of the colony and the HTTP paths that lead to them, for tests that walk all of them.
package routetest

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
)

// Method of a service of the colony.
type Method struct {
	Name string // "/package.Service/Method"
	Desc protoreflect.MethodDescriptor
	Rule access.Rule
	// Routes lead to it over HTTP.
	Routes []Route
}

// Route is a verb and a path, which names its variables as the proto does: {id}, {scope=jobs/*}.
type Route struct{ Verb, Path string }

// Fill returns the path with each variable replaced by what value returns for its name; the form of a variable that has
// one, jobs/* for example, comes with it.
func (r Route) Fill(value func(name, form string) string) string {
	path := r.Path
	for {
		before, rest, ok := strings.Cut(path, "{")
		if !ok {
			return path
		}
		inner, after, _ := strings.Cut(rest, "}")
		name, form, _ := strings.Cut(inner, "=")
		path = before + value(name, form) + after
	}
}

// Methods returns every method that is linked in, in the order of their names.
func Methods() []Method {
	rules := access.ReadRules(protoregistry.GlobalFiles)
	var all []Method
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				name := "/" + string(s.FullName()) + "/" + string(m.Name())
				if rule, ok := rules[name]; ok {
					all = append(all, Method{name, m, rule, routes(m)})
				}
			}
		}
		return true
	})
	slices.SortFunc(all, func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func routes(m protoreflect.MethodDescriptor) []Route {
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return nil
	}
	var all []Route
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		switch p := r.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			all = append(all, Route{"GET", p.Get})
		case *annotations.HttpRule_Post:
			all = append(all, Route{"POST", p.Post})
		case *annotations.HttpRule_Put:
			all = append(all, Route{"PUT", p.Put})
		case *annotations.HttpRule_Patch:
			all = append(all, Route{"PATCH", p.Patch})
		case *annotations.HttpRule_Delete:
			all = append(all, Route{"DELETE", p.Delete})
		}
	}
	return all
}
