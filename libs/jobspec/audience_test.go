package jobspec_test

import (
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
)

func TestAudience(t *testing.T) {
	const tasks = "tasks:\n  - task_type: a\n    method: SHELL\n    script:\n      - \"true\"\n"
	for name, c := range map[string]struct {
		text          string
		notify, hooks bool
	}{
		"nobody":               {"job_type: j\n" + tasks, false, false},
		"written out":          {"job_type: j\nnotify: {email: {recipients: [a@b.example]}}\nwebhook: {url: 'https://b.example'}\n" + tasks, true, true},
		"beside templates":     {"job_type: j\nnotify: {email: {recipients: [a@b.example]}}\ndescription: '{{.X}}'\n" + tasks, true, false},
		"a template each":      {"job_type: j\nnotify: {email: {recipients: ['{{.X}}@b.example']}}\nwebhook: {url: 'https://b.example', headers: {X: '{{.X}}'}}\n" + tasks, false, false},
		"a template as a key":  {"job_type: j\nwebhook: {url: 'https://b.example', headers: {'{{.X}}': a}}\n" + tasks, false, false},
		"a template within it": {"job_type: j\nwebhook: {url: 'https://{{.X}}.example'}\nnotify:\n  slack:\n    recipients:\n      - '#a'\n" + tasks, true, false},
	} {
		d, _, err := jobspec.Parse("j.yaml", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a := d.Audience; len(a.Notify) > 0 != c.notify || (a.Webhook != nil) != c.hooks || a.Empty() != (!c.notify && !c.hooks) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
