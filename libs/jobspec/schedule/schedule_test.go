package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schedule"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// open reads a text without templates: the node of its key v.
func open(t *testing.T, text string) (*read.Reader, *source.Pair) {
	t.Helper()
	lines := source.NewLines([]byte(text))
	shape := &template.Shape{Text: []byte(text)}
	shape.Parse(lines)
	if shape.Root == nil {
		t.Fatalf("%q is no YAML: %v", text, shape.Problems)
	}
	r := &read.Reader{Collector: &source.Collector{File: "f"}, Source: lines, Shape: shape, Machine: template.NewMachine(&template.Scope{})}
	return r, &shape.Root.Pairs[0]
}

// codes are those of the problems.
func codes(r *read.Reader) string {
	out := ""
	for _, p := range r.Collector.List {
		out += p.Code
	}
	return out
}

func TestCron(t *testing.T) {
	for text, fault := range map[string]string{"0 6 * * 1-5": "", "'@daily'": "", "6": source.CodeInvalidValue, "61 * * * *": source.CodeInvalidValue} {
		r, p := open(t, "v: "+text)
		if got := schedule.Cron(r, p.Value); codes(r) != fault || (got == "") != (fault != "") {
			t.Errorf("%s: %q %v", text, got, r.Collector.List)
		}
	}
}

func TestSchedules(t *testing.T) {
	r, p := open(t, "v: [{cron: 0 6 * * *, timezone: Europe/Berlin, overlap: SKIP}, {cron: '@daily'}, {timezone: Local}]")
	want := []schedule.Schedule{
		{Cron: "0 6 * * *", Timezone: "Europe/Berlin", Overlap: schedule.OverlapSkip, CatchUp: schedule.CatchUpNone},
		{Cron: "@daily", Timezone: "UTC", Overlap: schedule.OverlapQueue, CatchUp: schedule.CatchUpNone},
		{Timezone: "UTC", Overlap: schedule.OverlapQueue, CatchUp: schedule.CatchUpNone},
	}
	if diff := cmp.Diff(want, schedule.Read(r, p.Value)); diff != "" || codes(r) != source.CodeInvalidValue+source.CodeMissingField {
		t.Error(diff, r.Collector.List)
	}
}

func TestDeadline(t *testing.T) {
	for text, want := range map[string]*plan.Deadline{
		"2h": {After: 2 * time.Hour}, "'06:30'": {At: "06:30", Timezone: "UTC"}, "06:30 Europe/Berlin": {At: "06:30", Timezone: "Europe/Berlin"},
		"06:30 Local": nil, "'25:00'": nil,
	} {
		r, p := open(t, "v: "+text)
		got := schedule.Deadline(r, p.Value)
		if diff := cmp.Diff(want, got); diff != "" || (want == nil) != (codes(r) != "") {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}

func TestConcurrency(t *testing.T) {
	for text, want := range map[string]plan.Concurrency{
		"3": {Limit: 3, OnConflict: plan.ConflictQueue}, "{limit: 1, key: a, on_conflict: cancel_newest}": {Limit: 1, Key: "a", OnConflict: plan.ConflictCancelNewest},
	} {
		r, p := open(t, "v: "+text)
		if diff := cmp.Diff(&want, schedule.Concurrency(r, p)); diff != "" || codes(r) != "" {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}
