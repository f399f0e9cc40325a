package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

// object reads what was packed.
type object []byte

func (o object) Range(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(o[offset : offset+length])), nil
}

// records of a log that is to end.
func records(t *testing.T, l *tasklog.Log) (all []byte) {
	t.Helper()
	l.Finish()
	p, err := l.Pack()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	raw, err := io.ReadAll(p.Reader())
	if err != nil {
		t.Fatal(err)
	}
	r, err := logfile.Open(t.Context(), object(raw), p.Size)
	if err == nil {
		err = r.Records(t.Context(), 0, func(p logfile.Piece) (bool, error) {
			all = append(all, p.Records...)
			return false, nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What one life of the ant has shown of a log is at the same offsets, byte by byte, in the log that the next one stores.
func TestLogOfAnAdoptedTask(t *testing.T) {
	dir, uid := t.TempDir(), unique("log")
	first := filepath.Join(dir, "first")
	task := in(t, executor.Task{UID: uid, Script: []string{
		"printf a; sleep 0.3; printf b; echo c; echo err >&2; printf 'Password: '; sleep 0.3; echo; seq 20000", trap,
		"i=0; while [ -z \"$go\" ]; do i=$((i+1)); printf .; echo $i >&2; printf :; sleep 0.02 || :; done 2>&1; echo end",
	}}, plan.Options{})
	e, traces := earlier{Tasks: map[string]executor.Task{"u": task}, Log: first}.killed(t)
	if found := e.Find(t.Context(), map[string]string{uid: traces["u"]}); len(found) != 1 {
		t.Fatalf("found %q", found)
	}
	if err := e.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, e.Run)
	var last []tasklog.Chunk
	log := tasklog.New(tasklog.Options{Path: filepath.Join(dir, "log"), Limit: 64 << 20, Live: func(c tasklog.Chunk) { last = append(last, c) }})
	t.Cleanup(log.Remove)
	x := e.Adopt(task, log)
	x.Start()
	goOn(t, e, traces["u"])
	if end := x.Wait(); end.Class != executor.None {
		t.Errorf("%+v", end)
	}
	x.Close()
	if left, err := filepath.Glob(filepath.Join(e.opts.Dir, recordDir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left %q", left)
	}
	all := records(t, log)
	text, err := logfile.AppendText(nil, all, logfile.Stdout)
	if out := string(text); err != nil || !strings.HasPrefix(out, "abc\nPassword: \n1\n2\n") || !strings.Contains(out, "\n19999\n20000\nready\n.1\n:.2\n:.3\n") || !strings.HasSuffix(out, "end\n") {
		t.Errorf("printed %d bytes: %.100q … %q", len(out), out, out[max(0, len(out)-100):])
	}
	f, err := os.Open(first)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	shown := last
	for from := json.NewDecoder(f); ; {
		var c tasklog.Chunk
		if from.Decode(&c) != nil {
			break
		}
		shown = append(shown, c)
	}
	if len(shown) == len(last) {
		t.Error("the first life has shown nothing")
	}
	for _, c := range shown {
		if end := c.Offset + int64(len(c.Data)); end > int64(len(all)) || !bytes.Equal(all[c.Offset:end], c.Data) {
			t.Fatalf("shown at %d: %.300q", c.Offset, c.Data)
		}
	}
}

// fed is an adopted session that is told what an engine keeps.
func fed(t *testing.T, path string) (s *session, out *saying, feed func(lines ...string)) {
	t.Helper()
	out = &saying{said: make(chan struct{})}
	s = &session{out: &orderly{out: out, record: &record{path: path, size: recordHead}}}
	known, err := s.out.repeat(func(kind int, p []byte) { _, _ = s.out.Stdout().Write(p) })
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{s: s, known: known}
	w := stamped{r, &untold{r: r, to: s.out.Stdout()}}
	return s, out, func(lines ...string) {
		for _, l := range lines {
			if _, err := w.Write([]byte(l)); err != nil {
				t.Error(err)
			}
		}
	}
}

// What the log knows is passed over in what the engine keeps; an engine that has dropped the beginning makes one note, and what the
// log knew stays.
func TestWhatTheEngineKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records", "u")
	now := time.Now()
	line := func(after time.Duration, text string) string {
		return now.Add(after).Format(time.RFC3339Nano) + " " + text
	}
	s, _, _ := fed(t, path)
	_, _ = s.out.Stdout().Write([]byte("one\ntw"))
	_ = s.out.record.file.Close() // it is killed
	_, out, feed := fed(t, path)
	feed(line(-3*time.Second, "one\n"), line(-time.Second, "two\n"), line(time.Minute, "three\n"))
	if got := out.text.String(); got != "one\ntwo\nthree\n" || out.note.Len() > 0 {
		t.Errorf("printed %q, notes %q", got, out.note.String())
	}
	_, out, feed = fed(t, path) // a third life
	feed(line(-time.Second, "two, of which the beginning is not kept\n"), line(time.Minute, "three\n"), line(time.Hour, "four\n"), line(2*time.Hour, "five\n"))
	if got := out.text.String(); got != "one\ntwo\nthree\nfour\nfive\n" || strings.Count(out.note.String(), "may be missing") != 1 {
		t.Errorf("printed %q, notes %q", got, out.note.String())
	}
}

// Beyond its most a record counts.
func TestRecordOfALongLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u")
	r := &record{path: path, size: recordHead}
	piece := bytes.Repeat([]byte("0123456789abcde\n"), 2<<16)
	n := int64(0)
	for n < mostRecorded+3*int64(len(piece)) {
		r.add(fromStdout, time.Now(), piece)
		r.add(fromStderr, time.Now(), []byte("x"))
		n += int64(len(piece))
	}
	_ = r.file.Close()
	next := &record{path: path, size: recordHead}
	said := int64(0)
	err := next.replay(func(kind int, _ time.Time, p []byte) {
		if kind == fromStdout {
			said += int64(len(p))
		}
	})
	if err != nil || said < mostRecorded/2 || said > mostRecorded || next.told.bytes[0] != n || next.told.bytes[1] != n/int64(len(piece)) || fmt.Sprint(next.told.last) != fmt.Sprint(time.UnixMicro(r.told.last.UnixMicro())) {
		t.Errorf("%v; said %d, told %+v of %d", err, said, next.told.bytes, n)
	}
	next.remove()
	if _, err := os.Stat(path); err == nil {
		t.Error("it is left")
	}
}
