package shell

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// A line `env NAME=VALUE` changes the environment of the lines and processes that follow, after_script included.
func TestEnvLinesInASession(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	end, out := execute(t, e, executor.Task{
		Environment: map[string]string{"B": "two words"},
		Before:      []string{"env A=before"},
		Script:      []string{"sh -c 'echo 1 $A'", "env A=$B", `sh -c 'echo "2 $A"'`, "env A=once sh -c 'echo 3 $A'", `env A="$A; exit 9"`, `sh -c 'echo "4 $A"'`},
		After:       []string{"env C=after", `sh -c 'echo "5 $A $C"'`},
	}, nil)
	const want = "1 before\n2 two words\n3 once\n4 two words; exit 9\n5 two words; exit 9 after\n"
	if end.Class != executor.None || out != want {
		t.Errorf("%+v, printed %q", end, out)
	}
}

// All ways of a script to tell outputs, in one task; what is wrong names its line.
func TestEveryFormOfOutput(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	end, _ := execute(t, e, executor.Task{Script: []string{
		`echo "::set-output name=line::a::b=c"`, `echo plain=1 >>"$FORMICARY_OUTPUT"`, `echo 'with=a=b<<c' >>"$FORMICARY_OUTPUT"`,
		`printf 'doc<<END\nfirst\n\n  = second\nEND\n' >>"$FORMICARY_OUTPUT"`, `printf 'crlf=x\r\nlast=9' >>"$FORMICARY_OUTPUT"`,
	}}, nil)
	want := map[string]string{"line": "a::b=c", "plain": "1", "with": "a=b<<c", "doc": "first\n\n  = second", "crlf": "x", "last": "9"}
	for k, v := range want {
		if end.Outputs[k] != v {
			t.Errorf("%s: %q, want %q", k, end.Outputs[k], v)
		}
	}
	if len(end.Outputs) != len(want) || end.Class != executor.None {
		t.Errorf("%+v", end)
	}
	for script, want := range map[string]string{
		`printf 'a=1\n\nnonsense\n' >"$FORMICARY_OUTPUT"`:           "output file, line 3: want KEY=VALUE",
		`printf 'a=1\nb<<E\nx\n' >"$FORMICARY_OUTPUT"`:              "output file, line 2: b has no end",
		`printf 'a b=1\n' >"$FORMICARY_OUTPUT"`:                     `output file, line 1: output name "a b"`,
		"echo one; echo '::set-output name=a b::1'":                 `line 2 of the log: output name "a b"`,
		"echo '::set-output a::1'":                                  "line 1 of the log: want ::set-output name=KEY::VALUE",
		`printf 'a=%70000s' x >"$FORMICARY_OUTPUT"`:                 "larger than 64 KiB",
		`printf '::set-output name=a::%70000s' x`:                   "larger than 64 KiB",
		`head -c 300000 /dev/zero | tr '\0' x >"$FORMICARY_OUTPUT"`: "larger than 64 KiB",
	} {
		end, _ := execute(t, e, executor.Task{Script: []string{script}}, nil)
		if end.Class != executor.User || !strings.Contains(end.Message, want) || end.ExitCode != 0 || end.Outputs != nil {
			t.Errorf("%s: %d %s %q %v, want %q", script, end.ExitCode, end.Class, end.Message, end.Outputs, want)
		}
	}
}
