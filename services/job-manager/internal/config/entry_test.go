package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestCheckSecret(t *testing.T) {
	for value, reason := range map[string]string{
		"":                                 "SECRET_TOO_SHORT",
		"12345":                            "SECRET_TOO_SHORT",
		"a        \n":                      "SECRET_TOO_SHORT",
		"héllö":                            "SECRET_TOO_SHORT", // 7 bytes
		"123456":                           "",
		"-----BEGIN\nx":                    "",
		"canary\x00":                       "SECRET_INVALID",
		"canary\xff":                       "SECRET_INVALID",
		strings.Repeat("c", MaxValue):      "",
		strings.Repeat("canary", MaxValue): "SECRET_TOO_LONG",
	} {
		err := CheckSecret(value)
		if errs.Reason(err) != reason {
			t.Errorf("%.20q: %v", value, err)
		}
		if err != nil && len(value) > 2 && strings.Contains(err.Error(), value[:3]) {
			t.Errorf("the error holds the value: %v", err)
		}
	}
}

func TestConfigsHaveTheirTypes(t *testing.T) {
	for _, c := range []struct {
		kind, text string
		want       any
		ok         bool
	}{
		{"string", "", "", true},
		{"string", "1", "1", true},
		{"int", "12", int64(12), true},
		{"int", "1.5", nil, false},
		{"int", "", nil, false},
		{"int", "1e3", nil, false},
		{"int", "x", nil, false},
		{"number", "1.5", 1.5, true},
		{"number", "", nil, false},
		{"bool", "true", true, true},
		{"bool", "yes", nil, false},
		{"json", `{"a":[1]}`, map[string]any{"a": []any{int64(1)}}, true},
		{"json", `{} {}`, nil, false},
		{"json", ``, nil, false},
		{"text", "x", nil, false},
		{"string", Masked, nil, false},
	} {
		e := Entry{Name: "NAME", Type: c.kind, Value: c.text}
		err := e.check()
		if (err == nil) != c.ok || err != nil && errs.Reason(err) != "CONFIG_INVALID" {
			t.Errorf("%s %q: %v", c.kind, c.text, err)
		}
		if v, ok := valueOf(c.kind, c.text); c.ok && (!ok || !reflect.DeepEqual(v, c.want)) {
			t.Errorf("%s %q: %#v", c.kind, c.text, v)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"A": true, "_a-b_9": true, "": false, "9a": false, "-a": false, "a.b": false, "a/b": false, "a b": false, "a\n": false, "é": false,
		"JobID": false, "params": true, strings.Repeat("a", 100): true, strings.Repeat("a", 101): false,
	} {
		if err := checkName("X", name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestTheInnermostEntryCounts(t *testing.T) {
	entry := func(l Level, name, text string) Entry {
		return Entry{Scope: Scope{Level: l}, Name: name, Value: text, Type: "string"}
	}
	secret := func(l Level, name string) Entry { return Entry{Scope: Scope{Level: l}, Name: name, Secret: true} }
	v := viewOf([]Entry{
		entry(Job, "a", "job"), entry(Org, "a", "org"), entry(System, "a", "system"),
		entry(User, "b", "user"), entry(Org, "b", "org"), secret(Org, "c"), entry(User, "c", "user"),
		entry(System, "d", "system"), secret(Job, "d"), secret(System, "e"),
	})
	if got, want := fmt.Sprint(v.Low, v.Job, v.Secrets), fmt.Sprint(value.Vars{"b": "user", "c": "user"}, value.Vars{"a": "job"}, []string{"d", "e"}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
