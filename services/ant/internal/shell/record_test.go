package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

// newLog returns a log and what it has shown.
func newLog(t *testing.T, limit int64) (l *tasklog.Log, shown *[]tasklog.Chunk) {
	t.Helper()
	shown = &[]tasklog.Chunk{}
	l = tasklog.New(tasklog.Options{Path: filepath.Join(t.TempDir(), "log"), Limit: limit, Live: func(c tasklog.Chunk) { *shown = append(*shown, c) }})
	t.Cleanup(l.Remove)
	return l, shown
}

// object reads what was packed.
type object []byte

func (o object) Range(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(o[offset : offset+length])), nil
}

// pieces of the final log.
func pieces(t *testing.T, l *tasklog.Log) (all []logfile.Piece) {
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
	if err != nil {
		t.Fatal(err)
	}
	err = r.Records(t.Context(), 0, func(p logfile.Piece) (bool, error) {
		p.Records = bytes.Clone(p.Records)
		all = append(all, p)
		return false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func join(pieces []logfile.Piece) (raw []byte) {
	for _, p := range pieces {
		raw = append(raw, p.Records...)
	}
	return raw
}

func text(t *testing.T, records []byte, of logfile.Stream) string {
	t.Helper()
	s, err := logfile.AppendText(nil, records, of)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

// What one life of the ant has shown of a log is at the same offsets, byte by byte, in the log that another one stores: after
// some megabytes, with lines that came in parts, and notes.
func TestLogOfAnAdoptedTask(t *testing.T) {
	inBothEarlier(t, func(t *testing.T, o Options) {
		ready := t.TempDir()
		task := executor.Task{UID: "u", Environment: map[string]string{"READY": filepath.Join(ready, "u")}, Script: []string{
			"printf a; sleep 0.2; printf b; sleep 0.05; echo c; echo err >&2; printf 'Password: '; sleep 0.2; echo; seq -f %70.0f 70000", `touch "$READY"`,
			`i=0; while [ ! -e "$READY.go" ]; do i=$((i+1)); printf .; echo $i >&2; sleep 0.01; printf :; [ $((i % 7)) -gt 0 ] || sleep 0.15; done; echo end`,
		}}
		life := func(n int) string { return filepath.Join(ready, fmt.Sprint("life", n)) }
		traces := earlier{Options: o, Tasks: map[string]executor.Task{"u": task}, Log: life(1)}.killed(t, ready, nil)
		for n := 2; n < 4; n++ {
			earlier{Options: o, Log: life(n)}.adopts(t, traces, func(string) bool {
				info, err := os.Stat(life(n))
				return err == nil && info.Size() > 0
			})
		}
		e, _ := adopting(t, o, traces)
		log, last := newLog(t, 64<<20)
		x := e.Adopt(task, log)
		x.Start()
		if err := os.WriteFile(filepath.Join(ready, "u.go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if end := x.Wait(); end.Class != executor.None {
			t.Errorf("%+v", end)
		}
		x.Close()
		records := join(pieces(t, log))
		if out := text(t, records, logfile.Stdout); !strings.HasPrefix(out, fmt.Sprintf("abc\nPassword: \n%70d\n%70d\n", 1, 2)) || !strings.HasSuffix(out, ":end\n") || !strings.Contains(out, "69999\n"+fmt.Sprintf("%70d\n.:", 70000)) || len(out) > 6e6 {
			t.Errorf("printed %d bytes: %.100q", len(out), out)
		}
		for n := 1; n < 5; n++ {
			shown := *last
			if n < 4 {
				shown = chunks(t, life(n))
			}
			for _, c := range shown {
				if end := c.Offset + int64(len(c.Data)); end > int64(len(records)) || !bytes.Equal(records[c.Offset:end], c.Data) {
					t.Fatalf("life %d has shown at %d: %.300q", n, c.Offset, c.Data)
				}
			}
		}
	})
}

// chunks that a log has shown before it was killed.
func chunks(t *testing.T, file string) (all []tasklog.Chunk) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for from := json.NewDecoder(f); ; {
		var c tasklog.Chunk
		if from.Decode(&c) != nil { // it was killed when it wrote the last one
			return all
		}
		all = append(all, c)
	}
}

// fed is a record with a pipe.
type fed struct {
	*record
	to   *os.File
	pipe int
	buf  []byte
	log  *tasklog.Log
}

func feed(t *testing.T, file string, log *tasklog.Log) *fed {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	r := &fed{record: &record{file: f, keep: kept{head: 100_000, tail: 100_000, borders: 30_000}, log: log}, to: os.NewFile(uintptr(pipe[1]), "pipe"), pipe: pipe[0], buf: make([]byte, readSize), log: log}
	t.Cleanup(func() { _, _, _ = f.Close(), r.to.Close(), unix.Close(r.pipe) })
	return r
}

func (r *fed) print(t *testing.T, s string) {
	t.Helper()
	_, err := r.to.WriteString(s)
	for err == nil {
		var p []byte
		if p, err = r.take(r.pipe, fromStdout, r.buf); err == nil {
			r.say(fromStdout, p)
			r.at(time.Time{})
		}
	}
	if !errors.Is(err, errEmpty) {
		t.Fatal(err)
	}
}

func (r *fed) say(kind int, p []byte) {
	if kind == fromAnt {
		r.log.Note(string(p))
	} else {
		_, _ = r.log.Stdout().Write(p)
	}
}

// Of a record that has become too long the middle is lost; what is before and behind it keeps its place in the log.
func TestRecordLosesItsMiddle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "record")
	whole, _ := newLog(t, 64<<20)
	first := feed(t, file, whole)
	for i := range 10_000 {
		first.print(t, fmt.Sprintf("this is the line with the number %d", i))
		if i%10 > 0 {
			first.print(t, "\n") // else it is one with the next
		}
	}
	want := join(pieces(t, whole))
	again, shown := newLog(t, 64<<20)
	again.Again(true)
	second := feed(t, file, again)
	if err := second.replay([2]int{}, second.buf, second.say); err != nil {
		t.Fatal(err)
	}
	again.Again(false)
	if second.size != first.size || second.gap != first.gap || fmt.Sprint(second.borders) != fmt.Sprint(first.borders) {
		t.Errorf("read as %+v, written as %+v", second.record, first.record)
	}
	second.print(t, "after\n")
	kept, marked := 0, false
	mark := regexp.MustCompile(`[^\n]* N [^\n]*\n`)
	for _, p := range pieces(t, again) {
		records := mark.ReplaceAll(p.Records, nil)
		marked = marked || bytes.Contains(p.Records, []byte("left out here; the ant was restarted]\n"))
		if n := min(len(records), len(want)-int(p.Offset)); n > 0 && !bytes.HasPrefix(want[p.Offset:], records[:n]) {
			t.Errorf("at %d: %.300q", p.Offset, records)
		}
		kept += len(records)
	}
	if !marked || kept < 190_000 || kept > len(want)/2 || again.Size() <= int64(len(want)) {
		t.Errorf("%d bytes are kept of %d, the end is %d", kept, len(want), again.Size())
	}
	for _, c := range (*shown)[:len(*shown)-1] {
		if !bytes.Equal(want[c.Offset:c.Offset+int64(len(c.Data))], c.Data) {
			t.Errorf("shown at %d: %.300q", c.Offset, c.Data)
		}
	}
}
