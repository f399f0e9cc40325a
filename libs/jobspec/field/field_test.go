package field_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/field"
)

func TestSchemaOfALevel(t *testing.T) {
	l := field.Level{Name: "thing", Doc: "A thing.", Required: []string{"a"}, Fields: func() []field.Field {
		return []field.Field{
			{Name: "a", Form: field.Object(), Doc: "What.", Aliases: []string{"aa"}},
			{Name: "b", Form: field.AnyOf(field.Ref("x"), field.Object()), Doc: "Kept.", Inactive: true},
			{Name: "c", Form: field.Form{}, Doc: "Any.", Methods: []string{"M", "N"}},
		}
	}}
	got, err := json.Marshal(l.Schema())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"additionalProperties":false,"description":"A thing.","properties":{` +
		`"a":{"anyOf":[{"type":"object"},{"type":"null"}],"description":"What."},` +
		`"aa":{"anyOf":[{"type":"object"},{"type":"null"}],"deprecated":true,"description":"Misspelled: a."},` +
		`"b":{"anyOf":[{"$ref":"#/$defs/x"},{"type":"object"},{"type":"null"}],"description":"Kept. Not acted on by this version."},` +
		`"c":{"description":"Any. Acted on by the methods M and N only."}},"required":["a"],"type":"object"}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestMisspelling(t *testing.T) {
	for _, c := range [][3]string{{"task", "delay", "delay_between_retries"}, {"job", "delay", "delay"}, {"cache", "keys", "key_paths"}} {
		if got := field.Misspelling(c[0], c[1]); got != c[2] {
			t.Errorf("%s.%s is %s", c[0], c[1], got)
		}
	}
}
