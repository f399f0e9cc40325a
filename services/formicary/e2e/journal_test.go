package e2e

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// script returns lines that append "start", "beat" and "stop" with the attempt's uid to a journal: the outside proof
// that no task runs twice at once.
func script(journal, body string) string {
	line := func(what string) string {
		return `echo "` + what + ` $FORMICARY_JOB_ID/$FORMICARY_TASK $FORMICARY_ATTEMPT_UID" >> ` + journal
	}
	return strings.Join([]string{line("start"), line("beat"), body, line("beat"), line("stop")}, "\n        ")
}

// checkJournal fails when two attempts of one task overlap: once a later attempt has written a line, an earlier one
// must be silent for ever.
func checkJournal(t *testing.T, path string) (starts int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	current := map[string]string{}       // task → uid that writes
	over := map[string]map[string]bool{} // task → uids that have been followed by another
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		part := strings.Fields(lines.Text())
		if len(part) != 3 {
			continue // cut by a kill
		}
		what, task, uid := part[0], part[1], part[2]
		if what == "start" {
			starts++
		}
		if over[task][uid] {
			t.Errorf("attempt %s of %s wrote %q after attempt %s had started", uid, task, what, current[task])
		}
		if was := current[task]; was != "" && was != uid {
			if over[task] == nil {
				over[task] = map[string]bool{}
			}
			over[task][was] = true
		}
		current[task] = uid
	}
	return starts
}

// checkParallel fails when more tasks whose name begins with prefix were under way at once than may. An attempt that was
// killed is under way until its task has ended in another.
func checkParallel(t *testing.T, path, prefix string, most int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	running := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		part := strings.Fields(lines.Text())
		if len(part) != 3 || !strings.HasPrefix(part[1], prefix) {
			continue
		}
		switch part[0] {
		case "start":
			running[part[1]] = true
		case "stop":
			delete(running, part[1])
		}
		if len(running) > most {
			t.Errorf("%d of %s run at once, at most %d may", len(running), prefix, most)
			return
		}
	}
}
