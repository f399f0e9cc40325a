package logfile_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/formicary/formicary/libs/logfile"
)

// object is a stored log in memory; it counts what is read of it.
type object struct {
	data []byte
	read int64
}

func (o *object) Range(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || length < 0 || offset+length > int64(len(o.data)) {
		return nil, fmt.Errorf("range %d+%d of %d", offset, length, len(o.data))
	}
	o.read += length
	return io.NopCloser(bytes.NewReader(o.data[offset : offset+length])), nil
}

var began = time.Date(2026, 11, 29, 16, 31, 0, 123456000, time.UTC)

// said is one thing that was printed.
type said struct {
	s    logfile.Stream
	text string
}

func write(tb testing.TB, parts ...said) *object {
	tb.Helper()
	var b bytes.Buffer
	w := logfile.NewWriter(&b)
	for i, p := range parts {
		if err := w.Write(p.s, began.Add(time.Duration(i)*time.Second), []byte(p.text)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return &object{data: b.Bytes()}
}

func open(tb testing.TB, o *object) *logfile.Reader {
	tb.Helper()
	r, err := logfile.Open(tb.Context(), o, int64(len(o.data)))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// text reads what was printed from an offset on.
func text(tb testing.TB, r *logfile.Reader, offset int64, only logfile.Stream) string {
	tb.Helper()
	var out []byte
	err := r.Records(tb.Context(), offset, func(p logfile.Piece) (bool, error) {
		var err error
		out, err = logfile.AppendText(out, p.Records, only)
		return false, err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

func TestRecords(t *testing.T) {
	p := logfile.Append(nil, logfile.Stdout, began, []byte("one\ntwo\x00\xff"))
	p = logfile.Append(p, logfile.Stderr, began.Add(time.Millisecond), []byte("\n"))
	p = logfile.Append(p, logfile.Note, began.Add(time.Hour), nil)
	const want = "2026-11-29T16:31:00.123456Z O one\n2026-11-29T16:31:00.123456Z o two\x00\xff\n2026-11-29T16:31:00.124456Z E \n"
	if string(p) != want {
		t.Errorf("records %q", p)
	}
	r, _, err := logfile.Cut(p)
	if err != nil || r.Stream != logfile.Stdout || !r.Ends || string(r.Text) != "one" || !r.Time().Equal(began) {
		t.Errorf("record %+v, %v", r, err)
	}
	for only, want := range map[logfile.Stream]string{logfile.Merged: "one\ntwo\x00\xff\n", logfile.Stdout: "one\ntwo\x00\xff", logfile.Stderr: "\n", logfile.Note: ""} {
		if got, err := logfile.AppendText(nil, p, only); err != nil || string(got) != want {
			t.Errorf("text of %q: %q, %v", only, got, err)
		}
	}
}

func TestSizeIsWhatAppendAdds(t *testing.T) {
	for _, s := range []string{"", "\n", "a", "a\n", "a\nb", "\n\n\n", strings.Repeat("x\n", 1000) + "y"} {
		size, lines := logfile.Size([]byte(s))
		if got := logfile.Append(nil, logfile.Stdout, began, []byte(s)); size != int64(len(got)) || lines != int64(strings.Count(s, "\n")) {
			t.Errorf("size of %.20q: %d, %d, want %d", s, size, lines, len(got))
		}
	}
}

func TestWhatIsNoRecord(t *testing.T) {
	good := string(logfile.Append(nil, logfile.Stdout, began, []byte("text\n")))
	for _, bad := range []string{
		"", "\n", "plain text\n", good[:len(good)-1], strings.Replace(good, " O ", " X ", 1), strings.Replace(good, " O ", " \x00 ", 1),
		strings.Replace(good, "text", strings.Repeat("x", logfile.MaxText+1), 1),
	} {
		if _, _, err := logfile.Cut([]byte(bad)); !errors.Is(err, logfile.ErrRecord) {
			t.Errorf("%.40q is a record: %v", bad, err)
		}
	}
	if r, _, err := logfile.Cut([]byte(strings.Replace(good, "2026", "20x6", 1))); err != nil || !r.Time().IsZero() {
		t.Errorf("a time that is none: %v, %v", r.Time(), err)
	}
}

func TestPieces(t *testing.T) {
	p := logfile.Piece{Offset: 1000, Line: 7, Records: logfile.Append(nil, logfile.Stdout, began, []byte("a\nbb\nccc"))}
	p.Records = logfile.Append(p.Records, logfile.Stdout, began.Add(time.Second), []byte("d\ne\n"))
	show := func(p logfile.Piece, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		out, err := logfile.AppendText(nil, p.Records, logfile.Merged)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %d %q", p.Offset, p.Line, out)
	}
	for got, want := range map[string]string{
		show(p.From(0)):                           `1000 7 "a\nbb\nccccd\ne\n"`,
		show(p.From(1001)):                        `1000 7 "a\nbb\nccccd\ne\n"`, // inside a record
		show(p.From(1032)):                        `1032 8 "bb\ncccd\ne\n"`,
		show(p.From(1 << 40)):                     fmt.Sprintf(`%d 11 ""`, p.End()),
		show(p.Since(began)):                      `1000 7 "a\nbb\nccccd\ne\n"`,
		show(p.Since(began.Add(1))):               `1000 7 "a\nbb\nccccd\ne\n"`, // less than a microsecond
		show(p.Since(began.Add(time.Second))):     `1099 9 "d\ne\n"`,
		show(p.Since(began.Add(2 * time.Second))): fmt.Sprintf(`%d 11 ""`, p.End()),
		show(p.FromLine(3)):                       `1000 7 "a\nbb\nccccd\ne\n"`,
		show(p.FromLine(10)):                      `1065 9 "cccd\ne\n"`,
		show(p.ToLine(8)):                         `1000 7 "a\n"`,
		show(p.ToLine(10)):                        `1000 7 "a\nbb\ncccd\n"`,
		show(p.ToLine(99)):                        `1000 7 "a\nbb\ncccd\ne\n"`,
	} {
		if strings.ReplaceAll(want, "cccc", "ccc") != got {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	var all []byte
	for rest := p; len(rest.Records) > 0; {
		first, next, err := rest.First(70)
		if err != nil || len(first.Records) == 0 || len(first.Records) > 70 || next.Offset != first.End() {
			t.Fatalf("a part of %d bytes, then offset %d: %v", len(first.Records), next.Offset, err)
		}
		all, rest = append(all, first.Records...), next
	}
	if !bytes.Equal(all, p.Records) {
		t.Errorf("the parts are %q", all)
	}
}

func TestEmptyLog(t *testing.T) {
	r := open(t, write(t))
	at, err := r.Tail(t.Context(), 5)
	if r.End() != 0 || r.Lines() != 0 || at != 0 || err != nil || text(t, r, 0, logfile.Merged) != "" {
		t.Errorf("end %d, lines %d, tail at %d, %v", r.End(), r.Lines(), at, err)
	}
}

// everything is a log of many frames with all that a task may print, and its text.
func everything() (parts []said, whole string) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range 4000 {
		p := said{logfile.Stdout, fmt.Sprintf("line %d %x\n", i, rnd.Uint64())}
		switch i % 7 {
		case 1:
			p = said{logfile.Stderr, strings.Repeat("many\nlines\n", rnd.IntN(40))}
		case 3:
			p.text = strings.TrimSuffix(p.text, "\n") // goes on in what comes next
		case 5:
			p.text = strings.Repeat("a long line ", rnd.IntN(100))
		}
		if i > 2000 && i < 2050 {
			p = said{logfile.Stdout, strings.Repeat("x", 32<<10)} // a line of 1.5 MiB
		}
		parts = append(parts, p)
		b.WriteString(p.text)
	}
	return parts, b.String()
}

func TestWholeAndByStream(t *testing.T) {
	parts, whole := everything()
	r := open(t, write(t, parts...))
	if got := text(t, r, 0, logfile.Merged); got != whole {
		t.Errorf("text of %d bytes, want %d", len(got), len(whole))
	}
	var errs strings.Builder
	for _, p := range parts {
		if p.s == logfile.Stderr {
			errs.WriteString(p.text)
		}
	}
	if got := text(t, r, 0, logfile.Stderr); got != errs.String() {
		t.Errorf("stderr of %d bytes, want %d", len(got), errs.Len())
	}
	if want := int64(strings.Count(whole, "\n")); !strings.HasSuffix(whole, "\n") && r.Lines() != want+1 || strings.HasSuffix(whole, "\n") && r.Lines() != want {
		t.Errorf("%d lines, want %d", r.Lines(), want)
	}
}

func TestLinesTailAndSince(t *testing.T) {
	parts, whole := everything()
	parts = append(parts, said{logfile.Stdout, "\n"}, said{logfile.Stdout, "no line feed"})
	whole += "\nno line feed"
	r := open(t, write(t, parts...))
	lines := strings.SplitAfter(whole, "\n")
	if r.Lines() != int64(len(lines)) {
		t.Fatalf("%d lines, want %d", r.Lines(), len(lines))
	}
	for n := int64(1); n <= int64(len(lines))+1; n += 1397 {
		at, err := r.Line(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, r, at, logfile.Merged); got != strings.Join(lines[n-1:], "") {
			t.Fatalf("from line %d on: %d bytes, begins %.40q, want %.40q", n, len(got), got, lines[n-1])
		}
	}
	for _, n := range []int64{0, 1, 2, 100, 1 << 40} {
		at, err := r.Tail(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, r, at, logfile.Merged); got != strings.Join(lines[max(0, int64(len(lines))-n):], "") {
			t.Errorf("last %d lines: %d bytes", n, len(got))
		}
	}
	for _, i := range []int{0, 1, 500, 2100, 3999, len(parts)} {
		at, err := r.Since(t.Context(), began.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for _, p := range parts[i:] {
			want.WriteString(p.text)
		}
		if got := text(t, r, at, logfile.Merged); got != want.String() {
			t.Errorf("since %d: %d bytes, want %d", i, len(got), want.Len())
		}
	}
}

func TestLeftOut(t *testing.T) {
	var b bytes.Buffer
	w := logfile.NewWriter(&b)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Write(logfile.Stdout, began, []byte("one\ntwo\n")))
	must(w.Skip(1<<30, 1000))
	must(w.Write(logfile.Stdout, began.Add(time.Second), []byte("a\nb\n")))
	if w.Skip(5, 2000) == nil {
		t.Error("skipped back")
	}
	must(w.Close())
	r := open(t, &object{data: b.Bytes()})
	var places []string
	must(r.Records(t.Context(), 0, func(p logfile.Piece) (bool, error) {
		places = append(places, fmt.Sprintf("%d %d", p.Offset, p.Line))
		return false, nil
	}))
	if got := strings.Join(places, ", "); got != "0 0, 1073741824 1000" || r.Lines() != 1002 || r.End() != 1<<30+64 {
		t.Errorf("pieces at %s, %d lines, end %d", got, r.Lines(), r.End())
	}
	for n, want := range map[int64]string{2: "two\na\nb\n", 3: "a\nb\n", 500: "a\nb\n", 1001: "a\nb\n", 1002: "b\n"} {
		at, err := r.Line(t.Context(), n)
		must(err)
		if got := text(t, r, at, logfile.Merged); got != want {
			t.Errorf("from line %d on: %q, want %q", n, got, want)
		}
	}
	if got := text(t, r, 12345, logfile.Merged); got != "a\nb\n" {
		t.Errorf("from within the gap: %q", got)
	}
}

func search(t *testing.T, r *logfile.Reader, q *logfile.Query, most int) (found []logfile.Match) {
	t.Helper()
	err := r.Search(t.Context(), q, func(m logfile.Match) (bool, error) {
		found = append(found, m)
		return len(found) == most, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSearch(t *testing.T) {
	parts, whole := everything()
	parts = append(parts, said{logfile.Stdout, "\nnee"}, said{logfile.Stderr, "dle\n"}, said{logfile.Note, "2026-11-29"})
	whole += "\nneedle\n2026-11-29"
	r := open(t, write(t, parts...))
	lines := strings.Split(whole, "\n")
	for _, text := range []string{"many", "line 3", "xxx", "needle", "nowhere", "2026-11-29"} {
		q, err := logfile.Literal(text)
		if err != nil {
			t.Fatal(err)
		}
		var want []int
		for i, l := range lines {
			if strings.Contains(l, text) {
				want = append(want, i+1)
			}
		}
		var got []int
		for _, m := range search(t, r, q, 0) {
			got = append(got, int(m.Line))
			if !strings.Contains(m.Text, text) {
				t.Errorf("%q in %.60q", text, m.Text)
			}
			if len(got)%200 != 1 {
				continue
			}
			if at, err := r.Line(t.Context(), m.Line); err != nil || at != m.Offset {
				t.Errorf("line %d begins at %d, the match is at %d: %v", m.Line, at, m.Offset, err)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q is in lines %.200s, want %.200s", text, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
	q, err := logfile.Pattern(`^line \d+9 .*f$`)
	if err != nil {
		t.Fatal(err)
	}
	if found := search(t, r, q, 3); len(found) != 3 || found[0].Stream != logfile.Stdout || found[0].Time.IsZero() {
		t.Errorf("found %+v", found)
	}
	for _, bad := range []string{"", "(", strings.Repeat("x", 2000)} {
		if _, err := logfile.Pattern(bad); err == nil {
			t.Errorf("pattern %.20q is taken", bad)
		}
	}
}

func TestMatchOfALongLineIsAPart(t *testing.T) {
	long := strings.Repeat("ä", 5000) + "needle" + strings.Repeat("ö", 5000) + "\n"
	q, _ := logfile.Literal("needle")
	found := search(t, open(t, write(t, said{logfile.Stdout, long})), q, 0)
	if len(found) != 1 || !found[0].Cut || len(found[0].Text) > 1100 || !strings.Contains(found[0].Text, "äneedleö") || strings.Contains(found[0].Text, "\uFFFD") {
		t.Errorf("found %+v", found)
	}
}

// A log that zstd reads is no lock-in.
func TestAnyReaderOfZstdReadsTheRecords(t *testing.T) {
	o := write(t, said{logfile.Stdout, "one\n"}, said{logfile.Stderr, "two\n"})
	d, err := zstd.NewReader(bytes.NewReader(o.data))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, err := io.ReadAll(d)
	if got, _ := logfile.AppendText(nil, raw, logfile.Merged); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("read %q, %v", raw, err)
	}
}

// damaged returns the log with the bytes of the index before the end changed, and the right checksum.
func damaged(o *object, back int, change ...byte) *object {
	p := bytes.Clone(o.data)
	copy(p[len(p)-back:], change)
	n := int(binary.LittleEndian.Uint32(o.data[len(o.data)-20:]))
	body := p[len(p)-36-n*32:]
	binary.LittleEndian.PutUint32(p[len(p)-12:], crc32.ChecksumIEEE(body[:n*32+24]))
	return &object{data: p}
}

func TestHostileLogsAreRefused(t *testing.T) {
	parts, _ := everything()
	good := write(t, parts[:3]...)
	read := func(o *object) error {
		r, err := logfile.Open(t.Context(), o, int64(len(o.data)))
		if err != nil {
			return err
		}
		q, _ := logfile.Literal("x")
		return errors.Join(r.Records(t.Context(), 0, func(logfile.Piece) (bool, error) { return false, nil }),
			r.Search(t.Context(), q, func(logfile.Match) (bool, error) { return false, nil }))
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	// A frame of 64 MiB of zeros that says to be as large as a frame may be.
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := e.EncodeAll(make([]byte, 64<<20), nil)
	index := good.data[len(good.data)-8-32-36:]
	bombed := damaged(&object{data: append(bomb, index...)}, 36+32, binary.LittleEndian.AppendUint32(nil, uint32(len(bomb)))...)
	swapped := bytes.Clone(good.data)
	swapped[10] ^= 1
	for name, o := range map[string]*object{
		"nothing":                {},
		"text":                   {data: []byte("one\ntwo\n")},
		"cut":                    {data: good.data[:len(good.data)-1]},
		"begins late":            {data: good.data[1:]},
		"a frame is changed":     {data: swapped},
		"checksum":               {data: append(bytes.Clone(good.data[:len(good.data)-12]), append([]byte{1, 2, 3, 4}, "fmc-log1"...)...)},
		"too many frames":        damaged(good, 20, 200),
		"frame of nothing":       damaged(good, 36+32, 0, 0, 0, 0),
		"large frame":            damaged(good, 36+32, 0xff, 0xff, 0xff, 0x7f),
		"no records":             damaged(good, 36+28, 0, 0, 0, 0),
		"large records":          damaged(good, 36+28, 0xff, 0xff, 0xff, 0x7f),
		"other length":           damaged(good, 36+28, 1, 0, 0, 0),
		"offset below 0":         damaged(good, 36+24, 0, 0, 0, 0, 0, 0, 0, 0xff),
		"line below 0":           damaged(good, 36+16, 0, 0, 0, 0, 0, 0, 0, 0xff),
		"end before the records": damaged(good, 36, 0, 0, 0, 0, 0, 0, 0, 0),
		"lines below 0":          damaged(good, 28, 0, 0, 0, 0, 0, 0, 0, 0xff),
		"bomb":                   bombed,
	} {
		if err := read(o); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	huge := damaged(good, 8)
	binary.LittleEndian.PutUint32(huge.data[len(huge.data)-20:], 0xffffffff)
	if err := read(huge); !errors.Is(err, logfile.ErrFile) {
		t.Errorf("an index of 4 billion frames: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(write(f, said{logfile.Stdout, "one\ntwo"}, said{logfile.Stderr, "\n"}).data)
	f.Add(write(f).data)
	f.Fuzz(func(t *testing.T, p []byte) {
		if n := len(p); n > 12 { // let changes of the index get past its checksum
			if frames := int(binary.LittleEndian.Uint32(p[max(0, n-20):])); n >= 44+frames*32 && frames >= 0 && frames < 1000 {
				binary.LittleEndian.PutUint32(p[n-12:], crc32.ChecksumIEEE(p[n-36-frames*32:n-12]))
			}
		}
		r, err := logfile.Open(t.Context(), &object{data: p}, int64(len(p)))
		if err != nil {
			return
		}
		q, _ := logfile.Literal("o")
		_ = r.Search(t.Context(), q, func(logfile.Match) (bool, error) { return false, nil })
		at, _ := r.Tail(t.Context(), 3)
		_ = r.Records(t.Context(), at, func(logfile.Piece) (bool, error) { return false, nil })
		_, _ = r.Since(t.Context(), began)
	})
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte("one\ntwo\x00"), byte('O'))
	f.Fuzz(func(t *testing.T, p []byte, s byte) {
		_, _, _ = logfile.Cut(p) // must not panic
		if len(p) > logfile.MaxText {
			return
		}
		records := logfile.Append(nil, logfile.Stdout, began, p)
		got, err := logfile.AppendText(nil, records, logfile.Merged)
		if size, _ := logfile.Size(p); err != nil || !bytes.Equal(got, p) || size != int64(len(records)) {
			t.Errorf("%q became %q, %v", p, got, err)
		}
		_, _ = logfile.AppendText(nil, p, logfile.Stream(s))
	})
}

// hundred is a log of 100 MB, as builds print them.
func hundred(b *testing.B) *object {
	b.Helper()
	var out bytes.Buffer
	w := logfile.NewWriter(&out)
	rnd := rand.New(rand.NewPCG(1, 2))
	var block []byte
	for i, n := 0, 0; n < 100_000_000; i++ {
		block = block[:0]
		for len(block) < 30<<10 {
			block = fmt.Appendf(block, "[%d] compiling package github.com/example/project/%x with options %d\n", i, rnd.Uint32(), rnd.IntN(100))
		}
		n += len(block)
		if err := w.Write(logfile.Stdout, began.Add(time.Duration(i)*time.Millisecond), block); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(w.Write(logfile.Stderr, began.Add(time.Hour), []byte("the needle\n")), w.Close()); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d bytes stored", out.Len())
	return &object{data: out.Bytes()}
}

func BenchmarkReader(b *testing.B) {
	o := hundred(b)
	b.Run("last 100 lines", func(b *testing.B) {
		o.read = 0
		for b.Loop() {
			r := open(b, o)
			at, err := r.Tail(b.Context(), 100)
			if err != nil || strings.Count(text(b, r, at, logfile.Merged), "\n") != 100 {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(o.read)/float64(b.N), "read/op")
	})
	literal, _ := logfile.Literal("needle")
	prefixed, _ := logfile.Pattern(`the need[a-z]+$`)
	inside, _ := logfile.Pattern(`[a-z]+ needle$`)
	free, _ := logfile.Pattern(`^the [a-z]{6}$`)
	for name, q := range map[string]*logfile.Query{"literal": literal, "regexp": prefixed, "regexp with a text inside": inside, "regexp without": free} {
		b.Run("search "+name, func(b *testing.B) {
			b.SetBytes(100e6)
			for b.Loop() {
				n := 0
				if err := open(b, o).Search(b.Context(), q, func(logfile.Match) (bool, error) { n++; return false, nil }); err != nil || n != 1 {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkWriter(b *testing.B) {
	for name, line := range map[string]string{"lines of 80": strings.Repeat("0123456789 abcde", 5)[:79] + "\n", "empty lines": "\n", "one line": "0123456789abcdef"} {
		b.Run(name, func(b *testing.B) {
			block := []byte(strings.Repeat(line, 32<<10/len(line)))
			b.SetBytes(int64(len(block)))
			w := logfile.NewWriter(io.Discard)
			for b.Loop() {
				if err := w.Write(logfile.Stdout, began, block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
