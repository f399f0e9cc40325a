package errorrule_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
)

func TestMatch(t *testing.T) {
	failure := errorrule.Failure{JobType: "j", Task: "t", Platform: "linux", Script: []string{"make all", "docker push x"}, ExitCode: 137, Message: "exit 137\nout of memory"}
	for _, c := range []struct {
		name string
		rule errorrule.Rule
		want bool
	}{
		{"everything", errorrule.Rule{}, true},
		{"stars", errorrule.Rule{JobType: "*", Task: "*", Platform: "*", ExitCode: "*"}, true},
		{"job", errorrule.Rule{JobType: "j"}, true},
		{"other job", errorrule.Rule{JobType: "k"}, false},
		{"other task", errorrule.Rule{Task: "u"}, false},
		{"other platform", errorrule.Rule{Platform: "mac"}, false},
		{"code", errorrule.Rule{ExitCode: "137"}, true},
		{"range", errorrule.Rule{ExitCode: "128-200"}, true},
		{"class", errorrule.Rule{ExitCode: "1xx"}, true},
		{"other code", errorrule.Rule{ExitCode: "1"}, false},
		{"regex", errorrule.Rule{Regex: `(?i)OUT of \w+$`}, true},
		{"a line", errorrule.Rule{Regex: `^exit 137$`}, true},
		{"the beginning of a line", errorrule.Rule{Regex: `^out`}, true},
		{"the whole text", errorrule.Rule{Regex: `\Aout|137\z`}, false},
		{"other regex", errorrule.Rule{Regex: `^memory`}, false},
		{"broken regex", errorrule.Rule{Regex: `(`}, false},
		{"command", errorrule.Rule{Command: "docker push"}, true},
		{"other command", errorrule.Rule{Command: "npm"}, false},
		{"all that is set", errorrule.Rule{JobType: "j", ExitCode: "137", Regex: "disk"}, false},
	} {
		if got := errorrule.Match([]errorrule.Rule{c.rule}, failure) != nil; got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestSort(t *testing.T) {
	want := []errorrule.Rule{
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
		got := append([]errorrule.Rule{}, want...)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		errorrule.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestCheck(t *testing.T) {
	good := errorrule.Rule{JobType: "*", Regex: "a.*b", ExitCode: "5xx", ErrorCode: "ERR_X", Action: errorrule.ActionRetryTask, Retry: 3}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	bad := errorrule.Rule{Regex: "(", ExitCode: "FAILED", Action: "IGNORE", Retry: -1, Message: strings.Repeat("x", 2000)}
	want := "error_code is missing or no name; message is longer than 1000 bytes; regex is no regular expression of Go (RE2); exit_code is no code and no range such as 500-599 or 4xx; " +
		"action is none of RETRY_TASK, RETRY_JOB, SUSPEND_JOB, HARD_FAILURE; retry is not from 0 to 1000"
	if err := bad.Check(); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
