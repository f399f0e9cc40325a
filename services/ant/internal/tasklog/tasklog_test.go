package tasklog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/libs/mask"
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
	l := New(Options{Path: filepath.Join(t.TempDir(), "log"), Limit: limit, Masks: mask.New(masks), Live: live.add, Head: true})
	t.Cleanup(l.Remove)
	return l, live
}

// object reads what was packed.
type object []byte

func (o object) Range(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(o[offset : offset+length])), nil
}

// read packs the log and returns what was printed, and the records.
func read(t testing.TB, l *Log) (text string, records []byte) {
	t.Helper()
	p, err := l.Pack()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	raw, err := io.ReadAll(p.Reader())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	if hex.EncodeToString(sum[:]) != p.Sum || int64(len(raw)) != p.Size {
		t.Errorf("sum %s, size %d do not fit %d bytes", p.Sum, p.Size, len(raw))
	}
	if l.opts.Plain {
		if int64(len(raw)) != p.End {
			t.Errorf("%d bytes, the end is %d", len(raw), p.End)
		}
		return string(raw), raw
	}
	r, err := logfile.Open(t.Context(), object(raw), p.Size)
	if err != nil {
		t.Fatal(err)
	}
	if r.End() != l.Size() || p.End != l.Size() {
		t.Errorf("end %d, %d, want %d", r.End(), p.End, l.Size())
	}
	err = r.Records(t.Context(), 0, func(p logfile.Piece) (bool, error) {
		records = append(records, p.Records...)
		return false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return show(t, records), records
}

func show(t testing.TB, records []byte) string {
	t.Helper()
	text, err := logfile.AppendText(nil, records, logfile.Merged)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNothingPrinted(t *testing.T) {
	l, live := newLog(t, 1<<20)
	l.Finish()
	if l.Size() != 0 || len(live.chunks) != 0 {
		t.Errorf("size %d, chunks %v", l.Size(), live.chunks)
	}
}

func TestSmallLogNeedsNoFile(t *testing.T) {
	l, live := newLog(t, 1<<20, "secret")
	for _, p := range []string{"a sec", "ret b\n", "last"} {
		_, _ = io.WriteString(l.Stdout(), p)
	}
	l.Finish()
	text, records := read(t, l)
	if text != "a *** b\nlast" {
		t.Errorf("log %q", text)
	}
	if got := live.text(t); got != string(records) || !live.chunks[len(live.chunks)-1].End {
		t.Errorf("live %+v", live.chunks)
	}
	if _, err := os.Stat(l.opts.Path); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
}

func TestStreamsAreToldApartAndKeepTheirOrder(t *testing.T) {
	l, _ := newLog(t, 1<<20, "secret")
	for i, p := range []string{"one\ntwo", "err\n", " goes on\n", "sec", "and\x00\xff", "ret\n"} {
		to := l.Stdout()
		if i%2 == 1 {
			to = l.Stderr()
		}
		_, _ = io.WriteString(to, p)
		if i == 2 {
			l.Note("said by the ant")
		}
	}
	l.Finish()
	_, records := read(t, l)
	var got []string
	for last := (time.Time{}); len(records) > 0; {
		r, rest, err := logfile.Cut(records)
		if err != nil {
			t.Fatal(err)
		}
		if records = rest; r.Time().Before(last) {
			t.Errorf("%q was printed before what precedes it", r.Text)
		}
		last = r.Time()
		got = append(got, fmt.Sprintf("%c %t %q", r.Stream, r.Ends, r.Text))
	}
	want := []string{
		`O true "one"`, `O false "two"`, `E true "err"`, `O true " goes on"`, `N true "said by the ant"`, `O false "and\x00\xff"`, `E true "***"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("records %q", got)
	}
	if l.Head() != "one\ntwo goes on\nand\x00\uFFFD" {
		t.Errorf("the task printed %q", l.Head())
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
	if got, _ := read(t, l); got != want.String() {
		t.Errorf("log differs: %d bytes, want %d", len(got), want.Len())
	}
	if l.Head() != want.String()[:HeadSize] {
		t.Error("head differs")
	}
	l.Remove()
	if left, _ := os.ReadDir(filepath.Dir(l.opts.Path)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What is kept of a log that passes its limit are its first and its last lines, whatever the lines are like and however
// they come.
func TestLimitKeepsTheBeginningAndTheEnd(t *testing.T) {
	for name, at := range map[string]func(i int) string{
		"lines":       func(i int) string { return fmt.Sprintf("line %d\n", i) },
		"empty lines": func(int) string { return "\n" },
		"many lines":  func(i int) string { return strings.Repeat(fmt.Sprintf("%d\n", i), i%3000+1) },
		"one line":    func(i int) string { return fmt.Sprintf("%d ", i) },
		"long pieces": func(i int) string { return strings.Repeat(strconv.Itoa(i), 20000) },
		"long lines":  func(i int) string { return strings.Repeat(strconv.Itoa(i), 9000) + "\n" },
	} {
		for _, limit := range []int64{0, 5000, 100_000, 1 << 20} {
			t.Run(fmt.Sprint(name, " ", limit), func(t *testing.T) {
				l, _ := newLog(t, limit)
				var all strings.Builder
				for i := 0; l.Size() < 3*l.opts.Limit; i++ {
					p := at(i)
					_, _ = io.WriteString(l.Stdout(), p)
					all.WriteString(p)
				}
				l.Finish()
				if info, err := os.Stat(l.opts.Path); err == nil && info.Size() > l.opts.Limit {
					t.Errorf("the file has %d bytes, the limit is %d", info.Size(), l.opts.Limit)
				}
				text, records := read(t, l)
				if int64(len(records)) > l.opts.Limit+markSize {
					t.Errorf("%d bytes of records are kept", len(records))
				}
				first, rest, cut := strings.Cut(text, "[formicary: ")
				_, last, _ := strings.Cut(rest, "]")
				last = strings.TrimPrefix(last, "\n")
				whole := all.String()
				if !cut || !strings.HasPrefix(whole, strings.TrimSuffix(first, "\n")) || !strings.HasSuffix(whole, last) {
					t.Fatalf("cut %t: %d bytes, then %d, of %d", cut, len(first), len(last), len(whole))
				}
				if least := int(l.opts.Limit) / 40; len(first)*31 < least || len(last)*31 < least {
					t.Errorf("%d bytes, then %d", len(first), len(last))
				}
			})
		}
	}
}

func TestNothingIsCutWithinTheLimit(t *testing.T) {
	l, _ := newLog(t, 100_000)
	line := strings.Repeat("x", 69) + "\n" // a record of 100 bytes
	for range 1000 - pieceSize/100/2 {
		_, _ = io.WriteString(l.Stdout(), line)
	}
	l.Finish()
	if text, _ := read(t, l); strings.Contains(text, "formicary") || l.store.file == nil {
		t.Errorf("cut: %t", l.store.file != nil)
	}
}

func TestTextEndsAtTheLimit(t *testing.T) {
	live := &tail{}
	l := New(Options{Path: filepath.Join(t.TempDir(), "log"), Limit: MinLimit, Live: live.add, Plain: true})
	defer l.Remove()
	for i := range 1000 {
		to := l.Stdout()
		if i%2 == 0 {
			to = l.Stderr()
		}
		_, _ = io.WriteString(to, "1234567\n")
	}
	l.Finish()
	want := strings.Repeat("1234567\n", MinLimit/8)
	if text, _ := read(t, l); text != want+"\n[log ends here: the limit of 4096 bytes is reached]\n" {
		t.Errorf("log %q", text)
	}
	if got := live.text(t); got != want {
		t.Errorf("live %d bytes, want %d", len(got), len(want))
	}
	if got := l.Tail(8); got != "1234567" {
		t.Errorf("tail %q", got)
	}
}

func TestTailIsWholeLines(t *testing.T) {
	l, _ := newLog(t, 1<<20)
	for range 2000 {
		_, _ = io.WriteString(l.Stdout(), "0123456789\n")
	}
	_, _ = io.WriteString(l.Stderr(), "the end\xff\n\n")
	if got := l.Tail(25); got != "0123456789\nthe end\uFFFD" {
		t.Errorf("tail %q", got)
	}
}

func TestLiveTailDelayAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, live := newLog(t, 1<<30)
		_, _ = io.WriteString(l.Stdout(), "Password: ")
		if live.len() != 0 {
			t.Fatal("shown at once")
		}
		time.Sleep(delay + time.Millisecond)
		synctest.Wait()
		if got := show(t, []byte(live.text(t))); got != "Password: " {
			t.Fatalf("after the delay: %q", got)
		}
		block := bytes.Repeat([]byte("0123456789abcde\n"), pieceSize/16)
		for range 10 * liveRate / len(block) {
			_, _ = l.Stdout().Write(block)
		}
		l.Finish()
		shown := 0
		for _, c := range live.chunks {
			shown += len(c.Data)
			_ = show(t, c.Data) // each is whole records
			if len(c.Data) > 64<<10 {
				t.Errorf("a chunk of %d bytes", len(c.Data))
			}
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

// What is shown is what is kept: viewers go on in the final log where the tail ended.
func TestChunksHaveTheirPlaceInTheLog(t *testing.T) {
	l, live := newLog(t, 1<<24)
	for i := range 2000 {
		to := l.Stdout()
		if i%3 == 0 {
			to = l.Stderr()
		}
		_, _ = io.WriteString(to, strings.Repeat(fmt.Sprintf("%d\n", i), i%50)+"rest")
	}
	l.Finish()
	_, records := read(t, l)
	for _, c := range live.chunks {
		if !bytes.Equal(records[c.Offset:c.Offset+int64(len(c.Data))], c.Data) {
			t.Fatalf("the chunk at %d is not in the log", c.Offset)
		}
		text := show(t, records[:c.Offset])
		if lines := int64(strings.Count(text, "\n")); lines != c.Line {
			t.Fatalf("the chunk at %d says that %d lines ended before it: %d did", c.Offset, c.Line, lines)
		}
	}
}

// A secret that is printed to one stream is hidden whatever is printed to the other in between.
func TestSecretsAreHiddenInEachStream(t *testing.T) {
	l, live := newLog(t, 1<<20, "correct-horse")
	_, _ = io.WriteString(l.Stdout(), "correct-")
	_, _ = io.WriteString(l.Stderr(), "horse correct")
	_, _ = io.WriteString(l.Stdout(), "horse\n")
	_, _ = io.WriteString(l.Stderr(), "-horse\n")
	l.Finish()
	for _, only := range []logfile.Stream{logfile.Merged, logfile.Stdout, logfile.Stderr} {
		text, err := logfile.AppendText(nil, []byte(live.text(t)), only)
		if err != nil || strings.Contains(string(text), "correct-horse") {
			t.Errorf("%q shows it: %v", text, err)
		}
	}
	if text, _ := read(t, l); text != "horse ***\n***\n" {
		t.Errorf("log %q", text)
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, line := range map[string]string{"lines of 80": strings.Repeat("0123456789 abcde", 5)[:79] + "\n", "yes": "y\n", "one line": "0123456789abcdef"} {
		b.Run(name, func(b *testing.B) {
			block := []byte(strings.Repeat(line, 32<<10/len(line)))
			b.SetBytes(int64(len(block)))
			l := New(Options{Path: filepath.Join(b.TempDir(), "log"), Limit: 64 << 20, Masks: mask.New([]string{"correct-horse"}), Live: func(Chunk) {}})
			for b.Loop() {
				_, _ = l.Stdout().Write(block)
			}
			b.StopTimer()
			began := time.Now()
			l.Finish()
			p, err := l.Pack()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(began).Seconds()*1000, "ms-to-pack")
			p.Close()
			l.Remove()
		})
	}
}

// What an adopted task has printed before has its times of then; what comes after it has its own.
func TestPrintedAgain(t *testing.T) {
	l, _ := newLog(t, 1<<20)
	then := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	begun := time.Now()
	l.At(then)
	l.Note("note")
	l.At(then.Add(time.Second))
	_, _ = io.WriteString(l.Stdout(), "before\n")
	l.At(time.Time{})
	_, _ = io.WriteString(l.Stderr(), "after\n")
	l.Finish()
	_, raw := read(t, l)
	records := strings.Split(string(raw), "\n")
	if !strings.HasPrefix(records[0], "2026-11-29T12:00:00.000000Z") || !strings.HasPrefix(records[1], "2026-11-29T12:00:01.000000Z") || records[2] < begun.UTC().Format("2006-01-02T15:04:05") {
		t.Errorf("%q", records)
	}
}

// A log that is told again in the same pieces, at the same times, is the same, and shows what the first may not have shown:
// the last of it.
func TestToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, shown := newLog(t, 1<<24, "correct-horse")
		type piece struct {
			at   time.Time
			text string
		}
		var pieces []piece
		begun := time.Now()
		tell := func(l *Log, p piece) {
			l.At(p.at)
			_, _ = io.WriteString(l.Stdout(), p.text)
			l.At(time.Time{})
		}
		for i := range 3000 {
			time.Sleep(time.Duration(i%200) * time.Millisecond)
			p := piece{time.Now(), fmt.Sprintf("%d correct-horse correct-", i) + strings.Repeat("x", i) + strings.Repeat("\n", i%2)}
			pieces = append(pieces, p)
			tell(first, p)
		}
		first.Finish()
		_, want := read(t, first)

		again, last := newLog(t, 1<<24, "correct-horse")
		again.Again(true)
		for _, p := range pieces {
			tell(again, p)
		}
		time.Sleep(time.Hour)
		if last.len() > 0 {
			t.Error("shown while it is told again")
		}
		again.Again(false)
		again.Finish()
		_, got := read(t, again)
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes, want %d, of %s", len(got), len(want), time.Since(begun))
		}
		for _, c := range slices.Concat(shown.chunks, last.chunks) {
			if !bytes.Equal(c.Data, want[c.Offset:c.Offset+int64(len(c.Data))]) {
				t.Errorf("shown at %d: %.100q", c.Offset, c.Data)
			}
		}
		if from := last.chunks[0].Offset; from < int64(len(want))-2*heldSize || from > int64(len(want))-heldSize/2 {
			t.Errorf("shown from %d of %d on", from, len(want))
		}
	})
}
