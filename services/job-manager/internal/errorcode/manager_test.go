package errorcode

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/errorrule"
)

// memory keeps rules of one organisation and counts how often they are read.
type memory struct {
	rules []Rule
	reads int
}

func (m *memory) Rules(context.Context, string) ([]Rule, error) {
	m.reads++
	return m.rules, nil
}

func (m *memory) Save(_ context.Context, r Rule, _ int) (Rule, error) {
	m.rules = append(m.rules, r)
	return r, nil
}

func (m *memory) Delete(context.Context, string, uuid.UUID) error { return nil }

func rule(code, jobType, exitCode string) Rule {
	return Rule{Rule: errorrule.Rule{ErrorCode: code, JobType: jobType, ExitCode: exitCode}}
}

func TestSortedKeepsRulesWhole(t *testing.T) {
	rules := []Rule{rule("ERR_A", "", ""), rule("ERR_B", "j", ""), rule("ERR_C", "*", "7"), rule("ERR_D", "", ""), rule("ERR_E", "j", "4xx")}
	var codes []string
	for _, r := range sorted(rules) {
		codes = append(codes, r.ErrorCode)
	}
	if got := fmt.Sprint(codes); got != "[ERR_E ERR_B ERR_C ERR_A ERR_D]" {
		t.Error(got)
	}
	if rules[0].ErrorCode != "ERR_A" {
		t.Error("the argument was changed")
	}
}

func TestEncodedReadsAtChangesOnly(t *testing.T) {
	store := &memory{}
	m := NewManager(store)
	encoded := func(change int64, jobType string) string {
		text, err := m.Encoded(t.Context(), change, "o", jobType)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if encoded(0, "j") != "" || store.reads != 0 {
		t.Error("rules were read though there never was one")
	}
	if _, err := m.Save(t.Context(), rule("ERR_J", "j", "")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if !strings.Contains(encoded(1, "j"), "ERR_J") || encoded(1, "k") != "" {
			t.Error("wrong rules")
		}
	}
	if store.reads != 1 {
		t.Errorf("%d reads", store.reads)
	}
	store.rules = append(store.rules, rule("ERR_K", "k", ""))
	if !strings.Contains(encoded(2, "k"), "ERR_K") || store.reads != 2 {
		t.Errorf("%d reads", store.reads)
	}
	encoded(1, "k") // read before the change, asked after it
	if store.reads != 2 {
		t.Errorf("%d reads", store.reads)
	}
}

func TestSaveChecks(t *testing.T) {
	_, err := NewManager(&memory{}).Save(t.Context(), rule("ERR_X", "", "no code"))
	if errs.Reason(err) != "INVALID_ERROR_CODE" {
		t.Error(err)
	}
}
