package spool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t testing.TB, dir string) (*Spool, []Attempt) {
	t.Helper()
	s, left, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, left
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, left := open(t, dir)
	if len(left) != 0 {
		t.Fatalf("a new spool holds %v", left)
	}
	now, began := time.Now(), time.UnixMicro(1_764_443_000_123_456)
	must(t, s.append(kindStarted, "old", []byte("trace old")))
	must(t, s.Started("a", began, "trace a"))
	must(t, s.Started("b", began, "trace b"))
	must(t, s.Started("c", began, "trace c"))
	must(t, s.Ended("b", []byte("result b"), now, time.Second))
	must(t, s.Ended("c", []byte("result c"), now, time.Second))
	must(t, s.Forget("c", "unknown"))

	again, left := open(t, dir)
	slices.SortFunc(left, func(a, b Attempt) int { return strings.Compare(a.UID, b.UID) })
	if want := []Attempt{{"a", began, "trace a"}, {UID: "old", Trace: "trace old"}}; !slices.Equal(left, want) {
		t.Errorf("started: %v, want %v", left, want)
	}
	if got := again.Unsettled(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("unsettled: %v", got)
	}
	due, err := again.Due(now, 10)
	must(t, err)
	if len(due) != 1 || string(due["b"]) != "result b" {
		t.Errorf("due at once after a restart: %q", due)
	}
}

func TestDueWaitsLongerEachTime(t *testing.T) {
	s, _ := open(t, t.TempDir())
	now := time.Now()
	must(t, s.Ended("a", []byte("r"), now, 10*time.Second))
	steps := []struct {
		after time.Duration
		want  int
	}{{5 * time.Second, 0}, {10 * time.Second, 1}, {25 * time.Second, 0}, {30 * time.Second, 1}}
	for _, st := range steps {
		due, err := s.Due(now.Add(st.after), 10)
		must(t, err)
		if len(due) != st.want {
			t.Errorf("after %s: %d due, want %d", st.after, len(due), st.want)
		}
	}
	s.Retry("a")
	if due, _ := s.Due(now.Add(31*time.Second), 10); len(due) != 1 {
		t.Error("not due after Retry")
	}
}

func TestTornRecordIsCut(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	must(t, s.Ended("a", []byte("whole"), time.Now(), 0))
	must(t, s.Ended("b", []byte("torn by the death of the writer"), time.Now(), 0))
	path := filepath.Join(dir, "journal")
	raw, err := os.ReadFile(path)
	must(t, err)
	for cut := len(raw) - 1; cut > len(raw)-30; cut -= 7 {
		must(t, os.WriteFile(path, raw[:cut], 0o600))
		again, _ := open(t, dir)
		if got := again.Unsettled(); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		must(t, again.Ended("c", []byte("c"), time.Now(), 0))
		third, _ := open(t, dir)
		if got := third.Unsettled(); !slices.Equal(got, []string{"a", "c"}) {
			t.Fatalf("written after the cut at %d: %v", cut, got)
		}
	}
}

func TestRewriteKeepsWhatIsLive(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	big := bytes.Repeat([]byte("x"), 200<<10)
	must(t, s.Started("running", time.Now(), "pid 1"))
	must(t, s.Ended("kept", []byte("kept result"), time.Now(), 0))
	for i := range 60 {
		uid := fmt.Sprintf("u%d", i)
		must(t, s.Ended(uid, big, time.Now(), time.Hour))
		must(t, s.Forget(uid))
	}
	info, err := os.Stat(filepath.Join(dir, "journal"))
	must(t, err)
	if info.Size() > 2*rewriteFrom {
		t.Errorf("the journal has %d bytes", info.Size())
	}
	due, err := s.Due(time.Now().Add(time.Second), 10)
	must(t, err)
	if string(due["kept"]) != "kept result" {
		t.Errorf("due: %q", due)
	}
	_, left := open(t, dir)
	if len(left) != 1 || left[0].UID != "running" || left[0].Trace != "pid 1" {
		t.Errorf("started: %v", left)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(encode(kindEnded, "a", []byte("r")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "journal"), raw, 0o600))
		s, _ := open(t, dir)
		must(t, s.Ended("x", []byte("y"), time.Now(), 0))
		if !s.Holds("x") {
			t.Fatal("lost what was written")
		}
	})
}

// BenchmarkAttempt is the journal's cost of one attempt: started, ended, forgotten.
func BenchmarkAttempt(b *testing.B) {
	s, _ := open(b, b.TempDir())
	result := bytes.Repeat([]byte("r"), 250)
	for i := 0; b.Loop(); i++ {
		uid := fmt.Sprintf("0197a3b4-0000-7000-8000-%012d", i)
		must(b, s.Started(uid, time.Now(), "shell 12345 678"))
		must(b, s.Ended(uid, result, time.Now(), time.Second))
		must(b, s.Forget(uid))
	}
}
