package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandHasAnExample walks the tree of commands.
func TestEveryCommandHasAnExample(t *testing.T) {
	a, _, _ := testApp(nil)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasParent() && !strings.Contains(c.Example, "  formicary ") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			if strings.Contains(line, "formicary ") && c.HasParent() && !strings.Contains(line, c.CommandPath()) && !c.HasSubCommands() {
				t.Errorf("an example of %s shows another command: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
}

func TestWordsOfOtherToolsFindTheCommand(t *testing.T) {
	for typed, want := range map[string]string{
		"retry": "request restart", "request retry": "restart", "request show": "get", "job validate": "lint", "init": "job init",
		"logs": "request logs", "submit": "request submit", "job show": "get", "status": "request get",
	} {
		var errOut strings.Builder
		code := Run(t.Context(), Env{Args: strings.Fields(typed), Out: io.Discard, Err: &errOut, Getenv: func(string) string { return "" }})
		if code != exitUsage || !strings.Contains(errOut.String(), "did you mean "+want+"?") {
			t.Errorf("%s: exit code %d: %s", typed, code, &errOut)
		}
	}
}

func TestRunAsksForItsFile(t *testing.T) {
	var errOut strings.Builder
	code := Run(t.Context(), Env{Args: []string{"run"}, Out: io.Discard, Err: &errOut, Getenv: func(string) string { return "" }})
	if code != exitUsage || !strings.Contains(errOut.String(), "which FILE?") {
		t.Errorf("exit code %d: %s", code, &errOut)
	}
}

func TestTheRootTellsItsVersion(t *testing.T) {
	var out strings.Builder
	code := Run(t.Context(), Env{Args: []string{"--version"}, Out: &out, Err: io.Discard, Getenv: func(string) string { return "" }, Version: "1.2"})
	if code != exitOK || !strings.HasPrefix(out.String(), "formicary 1.2 (") {
		t.Errorf("exit code %d: %s", code, &out)
	}
}
