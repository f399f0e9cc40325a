package tasklog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/mask"
)

type tail struct {
	mu     sync.Mutex
	chunks []Chunk
}

func (t *tail) add(c Chunk) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chunks = append(t.chunks, c)
}

func (t *tail) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.chunks)
}

// text joins the chunks and checks that they follow each other.
func (t *tail) text(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	for i, c := range t.chunks {
		if c.Offset != int64(b.Len()) {
			tb.Fatalf("chunk %d begins at %d, want %d", i, c.Offset, b.Len())
		}
		b.Write(c.Data)
	}
	return b.String()
}

func newLog(t testing.TB, limit int64, masks ...string) (*Log, *tail) {
	live := &tail{}
	l := New(Options{Path: filepath.Join(t.TempDir(), "log"), Limit: limit, Masks: mask.New(masks), Live: live.add})
	t.Cleanup(l.Remove)
	return l, live
}

func read(t testing.TB, l *Log) string {
	t.Helper()
	r, err := l.Reader()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	if hex.EncodeToString(sum[:]) != l.Sum() || int64(len(raw)) != l.Size() {
		t.Errorf("sum %s, size %d do not fit %d bytes", l.Sum(), l.Size(), len(raw))
	}
	return string(raw)
}

func TestNothingPrinted(t *testing.T) {
	l, live := newLog(t, 1000)
	l.Finish()
	if l.Size() != 0 || len(live.chunks) != 0 || l.Sum() != "" {
		t.Errorf("size %d, chunks %v", l.Size(), live.chunks)
	}
}

func TestSmallLogNeedsNoFile(t *testing.T) {
	l, live := newLog(t, 1<<20, "secret")
	for _, p := range []string{"a sec", "ret b\n", "last"} {
		_, _ = io.WriteString(l.Stdout(), p)
	}
	l.Finish()
	const want = "a *** b\nlast"
	if got := read(t, l); got != want {
		t.Errorf("log %q", got)
	}
	if got := live.text(t); got != want || !live.chunks[len(live.chunks)-1].End {
		t.Errorf("live %+v", live.chunks)
	}
	if _, err := os.Stat(l.opts.Path); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
}

func TestLongLogGoesToTheFile(t *testing.T) {
	l, _ := newLog(t, 1<<20)
	var want bytes.Buffer
	for i := range 40 {
		p := bytes.Repeat([]byte{byte('a' + i%26)}, 7919)
		_, _ = l.Stdout().Write(p)
		want.Write(p)
	}
	l.Finish()
	if got := read(t, l); got != want.String() {
		t.Errorf("log differs: %d bytes, want %d", len(got), want.Len())
	}
	if l.Head() != want.String()[:HeadSize] {
		t.Error("head differs")
	}
}

func TestLimitIsMarked(t *testing.T) {
	l, _ := newLog(t, 10)
	for range 5 {
		_, _ = io.WriteString(l.Stdout(), "12345678")
	}
	l.Finish()
	if got := read(t, l); got != "1234567812\n[log ends here: the limit of 10 bytes is reached]\n" {
		t.Errorf("log %q", got)
	}
	if got := l.Tail(8); got != "12345678" {
		t.Errorf("tail %q", got)
	}
}

func TestTailIsWholeLines(t *testing.T) {
	l, _ := newLog(t, 1<<20)
	for range 2000 {
		_, _ = io.WriteString(l.Stdout(), "0123456789\n")
	}
	_, _ = io.WriteString(l.Stdout(), "the end\xff\n\n")
	if got := l.Tail(25); got != "0123456789\nthe end\uFFFD" {
		t.Errorf("tail %q", got)
	}
}

func TestLiveTailDelayAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, live := newLog(t, 1<<30)
		_, _ = io.WriteString(l.Stdout(), "hello")
		if live.len() != 0 {
			t.Fatal("shown at once")
		}
		time.Sleep(chunkDelay + time.Millisecond)
		synctest.Wait()
		if got := live.text(t); got != "hello" {
			t.Fatalf("after the delay: %q", got)
		}
		block := make([]byte, chunkSize)
		for range 10 * liveRate / chunkSize {
			_, _ = l.Stdout().Write(block)
		}
		l.Finish()
		shown := 0
		for _, c := range live.chunks {
			shown += len(c.Data)
		}
		if shown > 2*liveRate || shown < liveRate/2 {
			t.Errorf("%d bytes shown of %d printed in no time", shown, l.Size())
		}
		last := live.chunks[len(live.chunks)-1]
		if !last.End || last.Offset+int64(len(last.Data)) != l.Size() {
			t.Errorf("last chunk at %d of %d, end %v", last.Offset, l.Size(), last.End)
		}
	})
}

// What the ant says itself is in the log, and is no output of the task.
func TestNotesAreNoOutput(t *testing.T) {
	l, _ := newLog(t, 1<<20)
	var _ executor.Output = l
	l.Note("formicary: first")
	_, _ = io.WriteString(l.Stdout(), "one\n")
	l.Note("[between]")
	_, _ = io.WriteString(l.Stdout(), "two\n"+strings.Repeat("x", HeadSize))
	l.Note("[late]")
	l.Finish()
	if got, want := read(t, l), "formicary: first\none\n[between]\ntwo\n"+strings.Repeat("x", HeadSize)+"[late]\n"; got != want {
		t.Errorf("the log is %.60q… of %d bytes", got, len(got))
	}
	if got, want := l.Head(), "one\ntwo\n"+strings.Repeat("x", HeadSize)[:HeadSize-len("formicary: first\none\n[between]\ntwo\n")]; got != want {
		t.Errorf("the task printed %.60q… of %d bytes, want %d", got, len(got), len(want))
	}
}
