package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// member is one of a tar stream.
type member struct {
	tar.Header
	body string
}

func file(name, body string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640, Size: int64(len(body)), ModTime: time.Unix(1e9, 0)}, body}
}

func link(name, target string) member {
	return member{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func dir(name string) member {
	return member{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o750}, ""}
}

func tarOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pack(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Tar(bytes.NewReader(tarOf(t, members...)))
	if _, closed := w.Close(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
	return b.Bytes()
}

// noise is text that does not compress.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return string(b)
}

func openRoot(t testing.TB) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func extract(root *os.Root, packed []byte) error {
	raw, err := archive.Decompress(bytes.NewReader(packed), archive.Limits{})
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	return archive.Extract(root, raw, archive.Limits{})
}

// What was packed is read back: by the index, whole and in parts, from the front, and by extraction.
func TestWhatIsPackedIsReadBack(t *testing.T) {
	big := noise(1, 5<<20+17)
	members := []member{dir("d"), file("d/a.txt", "hello"), file("empty", ""), file("big", big), link("d/to-a", "a.txt"), file("ünï/"+strings.Repeat("long/", 40)+"x", "deep")}
	packed := pack(t, members...)

	a, err := archive.Open(t.Context(), archive.At(bytes.NewReader(packed)), int64(len(packed)), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Len() != len(members) {
		t.Errorf("%d entries, want %d", a.Len(), len(members))
	}
	for _, m := range members {
		e, err := a.Find(m.Name)
		if err != nil {
			t.Fatal(err)
		}
		if e.Size != int64(len(m.body)) || m.Typeflag == tar.TypeReg && (e.Mode != 0o640 || e.ModTime.Unix() != 1e9) {
			t.Errorf("entry %+v of %+v", e, m.Header)
		}
		for _, part := range [][2]int64{{0, -1}, {e.Size / 3, e.Size / 3}, {e.Size, 10}} {
			want := m.body[part[0]:]
			if part[1] >= 0 {
				want = want[:min(int64(len(want)), part[1])]
			}
			if got := readPart(t, a, e, part[0], part[1]); got != want {
				t.Errorf("%s from %d: %d bytes, want %d", e.Name, part[0], len(got), len(want))
			}
		}
	}
	if _, err := a.Find("d/b"); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	root := openRoot(t)
	for range 2 { // again over what is there
		if err := extract(root, packed); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := root.ReadFile("d/to-a"); err != nil || string(raw) != "hello" {
		t.Errorf("through a link: %q, %v", raw, err)
	}
	if raw, err := root.ReadFile("big"); err != nil || string(raw) != big {
		t.Errorf("the big one: %d bytes, %v", len(raw), err)
	}
	if info, err := root.Stat("d"); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the directory: %v, %v", info, err)
	}
}

func readPart(t *testing.T, a *archive.Archive, e archive.Entry, off, n int64) string {
	t.Helper()
	r, err := a.OpenFile(t.Context(), e, off, n)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTheSummaryIsOfTheWholeObject(t *testing.T) {
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Tar(bytes.NewReader(tarOf(t, dir("d"), file("d/a", "123"), link("b", "d/a")))); err != nil {
		t.Fatal(err)
	}
	s, err := w.Close()
	sum := sha256.Sum256(b.Bytes())
	if err != nil || s.Bytes != int64(b.Len()) || s.SHA256 != hex.EncodeToString(sum[:]) || s.Files != 2 || s.Raw != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

// An archive without files is one.
func TestEmpty(t *testing.T) {
	packed := pack(t)
	a, err := archive.Open(t.Context(), archive.At(bytes.NewReader(packed)), int64(len(packed)), archive.Limits{})
	if err != nil || a.Len() != 0 {
		t.Fatal(a, err)
	}
	if err := extract(openRoot(t), packed); err != nil {
		t.Fatal(err)
	}
}

// A small file of a large archive costs two requests, the list one.
func TestOneFileIsReadWithoutTheRest(t *testing.T) {
	packed := pack(t, file("a", noise(1, 8<<20)), file("small", noise(2, 4<<10)), file("b", noise(3, 8<<20)))
	var reads []int64
	source := func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		reads = append(reads, n)
		return archive.At(bytes.NewReader(packed))(ctx, off, n)
	}
	a, err := archive.Open(t.Context(), source, int64(len(packed)), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := a.Find("small")
	if err != nil {
		t.Fatal(err)
	}
	if got := readPart(t, a, e, 0, -1); got != noise(2, 4<<10) {
		t.Error("it is not what was packed")
	}
	if len(reads) != 2 || reads[1] > 3<<20 {
		t.Errorf("read in pieces of %d bytes", reads)
	}
}

// What leads out, is no file, or is there twice is refused by all that reads a stream, and nothing is written outside.
func TestHostileStreams(t *testing.T) {
	bodyless := func(kind byte, name, target string) member {
		return member{tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o644}, ""}
	}
	for name, members := range map[string][]member{
		"up":                    {file("../x", "1")},
		"up later":              {file("a/../../x", "1")},
		"absolute":              {file("/tmp/x", "1")},
		"no name":               {file("a/..", "1")},
		"part too long":         {file(strings.Repeat("x", 300), "1")},
		"name too long":         {file(strings.Repeat("x/", 3000)+"x", "1")},
		"link out":              {link("l", "../x")},
		"absolute link":         {link("l", "/etc/passwd")},
		"link with a detour":    {link("d/e/f", "../.."), link("l", "d/e/f/../x")},
		"below a link":          {link("l", "d"), file("l/x", "1")},
		"link for a directory":  {file("d/x", "1"), link("d", "e")},
		"below a file":          {file("f", "1"), file("f/x", "1")},
		"twice":                 {file("f", "1"), file("f", "2")},
		"link to itself's path": {link("l", "")},
		"hard link out":         {bodyless(tar.TypeLink, "h", "../x")},
		"hard link to nothing":  {bodyless(tar.TypeLink, "h", "x")},
		"hard link to a link":   {link("l", "x"), bodyless(tar.TypeLink, "h", "l")},
		"block device":          {bodyless(tar.TypeBlock, "b", "")},
		"character device":      {bodyless(tar.TypeChar, "c", "")},
		"pipe":                  {bodyless(tar.TypeFifo, "p", "")},
		"no UTF-8":              {{tar.Header{Typeflag: tar.TypeReg, Name: "a\xff", Format: tar.FormatGNU}, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := tarOf(t, members...)
			root := openRoot(t)
			w, err := archive.NewWriter(io.Discard, archive.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			packing := w.Tar(bytes.NewReader(raw))
			if _, closed := w.Close(); closed == nil {
				t.Error("an archive was made")
			}
			for what, err := range map[string]error{
				"extract": archive.Extract(root, bytes.NewReader(raw), archive.Limits{}),
				"clean":   archive.Clean(io.Discard, bytes.NewReader(raw), archive.Limits{}),
				"zip":     archive.Zip(io.Discard, bytes.NewReader(raw), archive.Limits{}),
				"pack":    packing,
			} {
				if !errors.Is(err, archive.ErrUnsafe) && !errors.Is(err, archive.ErrDamaged) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := os.Lstat(filepath.Join(root.Name(), "..", "x")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("written outside")
			}
		})
	}
}

// Links that are there already are not followed.
func TestExtractFollowsNothing(t *testing.T) {
	outside := t.TempDir()
	root := openRoot(t)
	for name, target := range map[string]string{"d": outside, "f": filepath.Join(outside, "f")} {
		if err := os.Symlink(target, filepath.Join(root.Name(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Extract(root, bytes.NewReader(tarOf(t, file("f", "new"))), archive.Limits{}); err != nil {
		t.Error(err)
	}
	if err := archive.Extract(root, bytes.NewReader(tarOf(t, file("d/x", "new"))), archive.Limits{}); !errors.Is(err, archive.ErrUnsafe) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("written outside: %v", left)
	}
}

// A stream that ends too early leaves no part of a file, and what was there.
func TestExtractLeavesNoPartOfAFile(t *testing.T) {
	root := openRoot(t)
	if err := root.WriteFile("old", []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old", "new"} {
		raw := tarOf(t, file("first", "1"), file(name, strings.Repeat("x", 4096)))
		if err := archive.Extract(root, bytes.NewReader(raw[:len(raw)-3072]), archive.Limits{}); err == nil {
			t.Fatal("a stream that was cut is whole")
		}
	}
	list, err := fs.ReadDir(root.FS(), ".")
	if err != nil || len(list) != 2 || list[0].Name() != "first" || list[1].Name() != "old" {
		t.Errorf("%v, %v", list, err)
	}
	if got, err := root.ReadFile("old"); string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSetuidIsDropped(t *testing.T) {
	m := file("f", "#!")
	m.Mode = 0o6755
	root := openRoot(t)
	if err := archive.Extract(root, bytes.NewReader(tarOf(t, m)), archive.Limits{}); err != nil {
		t.Fatal(err)
	}
	if info, err := root.Stat("f"); err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A hard link becomes a symbolic one.
func TestHardLink(t *testing.T) {
	packed := pack(t, file("a/f", "text"), member{tar.Header{Typeflag: tar.TypeLink, Name: "b/c/h", Linkname: "a/f"}, ""})
	root := openRoot(t)
	if err := extract(root, packed); err != nil {
		t.Fatal(err)
	}
	if raw, err := root.ReadFile("b/c/h"); err != nil || string(raw) != "text" {
		t.Errorf("%q, %v", raw, err)
	}
}

// zeros is a file of n of them.
func zeros(n int64) (*tar.Header, io.Reader) {
	return &tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: n}, io.LimitReader(zero{}, n)
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLimits(t *testing.T) {
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Add(zeros(64 << 20))
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	small := archive.Limits{Bytes: 32 << 20}
	raw, err := archive.Decompress(bytes.NewReader(b.Bytes()), small)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	if err := archive.Extract(openRoot(t), raw, small); !errors.Is(err, archive.ErrLimit) {
		t.Errorf("too long a stream: %v", err)
	}
	if _, err := archive.Open(t.Context(), archive.At(bytes.NewReader(b.Bytes())), int64(b.Len()), small); !errors.Is(err, archive.ErrLimit) {
		t.Errorf("too long by its index: %v", err)
	}
	w, err = archive.NewWriter(io.Discard, small)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Add(zeros(64 << 20))
	if _, err := w.Close(); !errors.Is(err, archive.ErrLimit) {
		t.Errorf("too long to be made: %v", err)
	}
	many := tarOf(t, file("a", ""), file("b", ""), file("c", ""))
	if err := archive.Clean(io.Discard, bytes.NewReader(many), archive.Limits{Entries: 2}); !errors.Is(err, archive.ErrLimit) {
		t.Errorf("too many files: %v", err)
	}
}

// endless is a tar stream of empty files.
type endless struct {
	b bytes.Buffer
	n int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.b.Len() == 0 {
		w := tar.NewWriter(&e.b)
		e.n++
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", e.n)}); err != nil {
			return 0, err
		}
	}
	return e.b.Read(p)
}

// Ten million files are refused at the limit, not at the end.
func TestTooManyFilesAreRefusedEarly(t *testing.T) {
	e := &endless{}
	if err := archive.Clean(io.Discard, e, archive.Limits{Entries: 10_000}); !errors.Is(err, archive.ErrLimit) {
		t.Error(err)
	}
	if e.n > 11_000 {
		t.Errorf("%d files were read", e.n)
	}
}

// Ten gigabytes of nothing are refused by their ratio, long before their end.
func TestBombs(t *testing.T) {
	w, err := archive.NewWriter(io.Discard, archive.Limits{RatioFrom: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Add(zeros(10 << 30))
	if _, closed := w.Close(); err == nil || !errors.Is(closed, archive.ErrLimit) {
		t.Errorf("%v, %v", err, closed)
	}
}

// A broken byte is an error, a panic never, and a wrong index gives no wrong file silently beyond the bounds.
func TestBrokenBytes(t *testing.T) {
	packed := pack(t, file("a", noise(1, 3000)), dir("d"), file("d/b", "text"), link("d/l", "b"))
	for i := range packed {
		for _, flip := range []byte{1, 0x80, 0xff} {
			broken := bytes.Clone(packed)
			broken[i] ^= flip
			_ = tryAll(t.Context(), broken) // any error will do
		}
	}
	for n := range packed {
		if err := tryAll(t.Context(), packed[:n]); err == nil {
			t.Fatalf("the first %d bytes are an archive", n)
		}
	}
}

// tryAll reads everything by the index.
func tryAll(ctx context.Context, packed []byte) error {
	l := archive.Limits{Entries: 1000, Bytes: 1 << 24}
	a, err := archive.Open(ctx, archive.At(bytes.NewReader(packed)), int64(len(packed)), l)
	if err != nil {
		return err
	}
	for e := range a.Entries() {
		r, err := a.OpenFile(ctx, e, 0, -1)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// A reader that stops and a writer that fails leave nothing behind (goroutines: see TestMain).
func TestWriterThatFails(t *testing.T) {
	full := errors.New("the disk is full")
	w, err := archive.NewWriter(writerFunc(func([]byte) (int, error) { return 0, full }), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Tar(bytes.NewReader(tarOf(t, file("a", noise(1, 20<<20)))))
	if _, err := w.Close(); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestZip(t *testing.T) {
	raw := tarOf(t, dir("d"), file("d/a", "text"), link("l", "d/a"))
	var b bytes.Buffer
	if err := archive.Zip(&b, bytes.NewReader(raw), archive.Limits{}); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	w, err := archive.NewWriter(&again, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Zip(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil {
		t.Fatal(err)
	}
	if s, err := w.Close(); err != nil || s.Files != 2 {
		t.Fatal(s, err)
	}
	root := openRoot(t)
	if err := extract(root, again.Bytes()); err != nil {
		t.Fatal(err)
	}
	if raw, err := root.ReadFile("l"); err != nil || string(raw) != "text" {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestHostileZip(t *testing.T) {
	for name, h := range map[string]zip.FileHeader{"up": {Name: "../x"}, "absolute": {Name: "/x"}, "backslash is no border": {Name: `..\x/../../y`}} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			if _, err := z.CreateHeader(&h); err != nil {
				t.Fatal(err)
			}
			_ = z.Close()
			w, err := archive.NewWriter(io.Discard, archive.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Zip(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()))
			if _, err := w.Close(); !errors.Is(err, archive.ErrUnsafe) {
				t.Error(err)
			}
		})
	}
}

func TestPack(t *testing.T) {
	root := openRoot(t)
	for _, name := range []string{"a.txt", "dist/app.js", "dist/css/site.css", "dist/.hidden", "src/x/y/z.go", "src/x/z.txt"} {
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := root.WriteFile(name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_ = root.Symlink("app.js", "dist/latest")
	_ = root.Symlink("/etc/passwd", "dist/secret")
	if err := syscall.Mkfifo(filepath.Join(root.Name(), "dist", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		patterns, want []string
		missing, left  int
	}{
		{[]string{"a.txt"}, []string{"a.txt"}, 0, 0},
		{[]string{"./a.txt", "a.txt"}, []string{"a.txt"}, 0, 0},
		{[]string{"dist/"}, []string{"dist", "dist/.hidden", "dist/app.js", "dist/css", "dist/css/site.css", "dist/latest"}, 0, 2},
		{[]string{"dist/*.js"}, []string{"dist/app.js"}, 0, 0},
		{[]string{"**/*.{go,css}"}, []string{"dist/css/site.css", "src/x/y/z.go"}, 0, 0},
		{[]string{"src/**"}, []string{"src", "src/x", "src/x/y", "src/x/y/z.go", "src/x/z.txt"}, 0, 0},
		{[]string{"none", "src/*/z.txt", "no*", "a.txt/b"}, []string{"src/x/z.txt"}, 3, 0},
		{[]string{"."}, []string{"a.txt", "dist", "dist/.hidden", "dist/app.js", "dist/css", "dist/css/site.css", "dist/latest", "src", "src/x", "src/x/y", "src/x/y/z.go", "src/x/z.txt"}, 0, 2},
	} {
		t.Run(strings.Join(c.patterns, " "), func(t *testing.T) {
			p, err := archive.Compile(c.patterns)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			left, err := archive.Pack(t.Context(), &b, root, p, archive.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := namesOf(t, b.Bytes()); !slices.Equal(got, c.want) {
				t.Errorf("packed %q, want %q", got, c.want)
			}
			if len(left) != c.left || len(p.Unmatched()) != c.missing {
				t.Errorf("left out %q, unmatched %q", left, p.Unmatched())
			}
		})
	}
	for _, bad := range []string{"", "/etc", "..", "a/../../b", "[a"} {
		if _, err := archive.Compile([]string{bad}); err == nil {
			t.Errorf("the pattern %q is accepted", bad)
		}
	}
}

// A name that is escaped is taken as it is, and nothing else is looked at for it.
func TestEscaped(t *testing.T) {
	root := openRoot(t)
	if err := root.WriteFile("other", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a}b", "{a", "{a,b}", "[a", "a]b", "[a-z]", "*", "a?", `back\slash`, `\\`, "plain"} {
		if err := root.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := archive.Compile([]string{archive.Escaped(name)})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		var b bytes.Buffer
		_, err = archive.Pack(t.Context(), &b, root, p, archive.Limits{})
		if got := namesOf(t, b.Bytes()); err != nil || !slices.Equal(got, []string{name}) || !slices.Equal(p.Roots(), got) {
			t.Errorf("%q: packed %q of %q, %v", name, got, p.Roots(), err)
		}
	}
}

func namesOf(t *testing.T, raw []byte) (names []string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimSuffix(h.Name, "/"))
	}
}

// Whatever the bytes are: no panic, no memory beyond the limits, nothing outside.
func FuzzArchive(f *testing.F) {
	f.Add(pack(f, file("a", "hello"), dir("d"), link("d/l", "../a"), file("d/b", noise(1, 2000))))
	f.Add(tarOf(f, file("a", "hello"), link("l", "a"), member{tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "a"}, ""}))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := archive.Limits{Entries: 100, Bytes: 1 << 20}
		_ = tryAll(t.Context(), b)
		base := t.TempDir()
		if err := os.Mkdir(filepath.Join(base, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(base, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		_ = archive.Extract(root, bytes.NewReader(b), l)
		if raw, err := archive.Decompress(bytes.NewReader(b), l); err == nil {
			_ = archive.Extract(root, raw, l)
			_ = raw.Close()
		}
		if left, err := os.ReadDir(base); err != nil || len(left) != 1 {
			t.Fatalf("beside the root: %v, %v", left, err)
		}
		_ = filepath.WalkDir(root.Name(), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&fs.ModeSymlink != 0 {
				if real, err := filepath.EvalSymlinks(path); err == nil && !strings.HasPrefix(real, base) {
					t.Errorf("%s leads to %s", path, real)
				}
			}
			return nil
		})
	})
}
