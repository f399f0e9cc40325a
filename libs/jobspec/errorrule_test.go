package jobspec_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
)

func TestMatchRule(t *testing.T) {
	failure := jobspec.Failure{JobType: "j", Task: "t", Platform: "linux", Script: []string{"make all", "docker push x"}, ExitCode: 137, Message: "exit 137\nout of memory"}
	for _, c := range []struct {
		name string
		rule jobspec.ErrorRule
		want bool
	}{
		{"everything", jobspec.ErrorRule{}, true},
		{"stars", jobspec.ErrorRule{JobType: "*", Task: "*", Platform: "*", ExitCode: "*"}, true},
		{"job", jobspec.ErrorRule{JobType: "j"}, true},
		{"other job", jobspec.ErrorRule{JobType: "k"}, false},
		{"other task", jobspec.ErrorRule{Task: "u"}, false},
		{"other platform", jobspec.ErrorRule{Platform: "mac"}, false},
		{"code", jobspec.ErrorRule{ExitCode: "137"}, true},
		{"range", jobspec.ErrorRule{ExitCode: "128-200"}, true},
		{"class", jobspec.ErrorRule{ExitCode: "1xx"}, true},
		{"other code", jobspec.ErrorRule{ExitCode: "1"}, false},
		{"regex", jobspec.ErrorRule{Regex: `(?i)OUT of \w+$`}, true},
		{"a line", jobspec.ErrorRule{Regex: `^exit 137$`}, true},
		{"the beginning of a line", jobspec.ErrorRule{Regex: `^out`}, true},
		{"the whole text", jobspec.ErrorRule{Regex: `\Aout|137\z`}, false},
		{"other regex", jobspec.ErrorRule{Regex: `^memory`}, false},
		{"broken regex", jobspec.ErrorRule{Regex: `(`}, false},
		{"command", jobspec.ErrorRule{Command: "docker push"}, true},
		{"other command", jobspec.ErrorRule{Command: "npm"}, false},
		{"all that is set", jobspec.ErrorRule{JobType: "j", ExitCode: "137", Regex: "disk"}, false},
	} {
		if got := jobspec.MatchRule([]jobspec.ErrorRule{c.rule}, failure) != nil; got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestSortRules(t *testing.T) {
	want := []jobspec.ErrorRule{
		{JobType: "j", Task: "t", ExitCode: "1", Regex: "x"},
		{JobType: "j", Task: "t", ExitCode: "1"},
		{JobType: "j", Task: "t", ExitCode: "1-3"},
		{JobType: "j", Task: "t", ExitCode: "1xx"},
		{JobType: "j", Task: "t", Regex: "x"},
		{JobType: "j", Task: "t", Command: "x"},
		{JobType: "j", Task: "t", Platform: "x"},
		{JobType: "j", Task: "t"},
		{JobType: "j", ExitCode: "7"},
		{JobType: "*", Task: "t", Regex: "x"},
		{ExitCode: "0-99999"},
		{Regex: "x"},
		{ExitCode: "*"},
	}
	for seed := range uint64(50) {
		got := append([]jobspec.ErrorRule{}, want...)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		jobspec.SortRules(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestCheckRule(t *testing.T) {
	good := jobspec.ErrorRule{JobType: "*", Regex: "a.*b", ExitCode: "5xx", ErrorCode: "ERR_X", Action: jobspec.ActionRetryTask, Retry: 3}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	bad := jobspec.ErrorRule{Regex: "(", ExitCode: "FAILED", Action: "IGNORE", Retry: -1, Message: strings.Repeat("x", 2000)}
	want := "error_code is missing or no name; message is longer than 1000 bytes; regex is no regular expression of Go (RE2); exit_code is no code and no range such as 500-599 or 4xx; " +
		"action is none of RETRY_TASK, RETRY_JOB, SUSPEND_JOB, HARD_FAILURE; retry is not from 0 to 1000"
	if err := bad.Check(); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
