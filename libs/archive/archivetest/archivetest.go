// Package archivetest has archives that are made to do harm, and checks that they do none. Every border at which archives of
// strangers come in drives all of them: uploads of users, artifacts and caches that an ant gets, downloads at a user's machine.
//
// A border refuses each with one of the errors of package archive, or, where a case says that it may be taken, unpacks what
// is harmless of it. Either way nothing is outside of the root and the memory is bounded. The archives are made while they
// are read, so that ten gigabytes of zeros cost the test nothing.
package archivetest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Case is one hostile archive.
type Case struct {
	Name string
	// Tar, Gzip, Zstd and Zip are the forms in which it comes; some have not all of them.
	Tar, Gzip, Zstd, Zip Data
	// Taken says that it may be unpacked: what is left of it then is harmless.
	Taken bool
	// Large says that only the limits refuse it.
	Large bool
}

const (
	mib       = 1 << 20
	bombMiB   = 10 << 10
	manyFiles = 10_000_000
)

// Forms are the archives of a case by the end of their names.
func (c Case) Forms() map[string]Data {
	all := map[string]Data{"tar": c.Tar, "tar.gz": c.Gzip, "tar.zst": c.Zstd, "zip": c.Zip}
	maps.DeleteFunc(all, func(_ string, d Data) bool { return d == nil })
	return all
}

// Cases are all of them, compressed in those forms that are wanted.
func Cases(t testing.TB, forms ...string) []Case {
	t.Helper()
	long := strings.Repeat("x/", 50_000)
	cases := []Case{
		{Name: "up", Tar: tarOf(file("../x")), Zip: zipOf(nil, stored("../x", "hostile"))},
		{Name: "up after a way down", Tar: tarOf(file("a/../../x")), Zip: zipOf(nil, stored("a/../../x", "hostile"))},
		{Name: "absolute", Tar: tarOf(file("/tmp/x")), Zip: zipOf(nil, stored("/tmp/x", "hostile"))},
		{Name: "link out", Tar: tarOf(link("l", "../x")), Zip: zipOf(nil, zipLink("../x"))},
		{Name: "absolute link", Tar: tarOf(link("l", "/etc/passwd")), Zip: zipOf(nil, zipLink("/etc/passwd"))},
		{Name: "file below a link out", Tar: tarOf(link("l", ".."), file("l/x")), Zip: zipOf(nil, zipLink(".."), stored("l/x", "hostile"))},
		{Name: "file below a link inside", Tar: tarOf(member{kind: '5', name: "d/"}, link("l", "d"), file("l/x")), Zip: zipOf(nil, zipLink("d"), stored("l/x", "hostile"))},
		{Name: "links that climb", Tar: tarOf(link("a", "d/e/f"), link("l", "a/../../../../x"))},
		{Name: "hard link out", Tar: tarOf(hard("h", "../x"))},
		{Name: "absolute hard link", Tar: tarOf(hard("h", "/etc/passwd"))},
		{Name: "hard link through a link", Tar: tarOf(link("l", "a"), hard("h", "l/x"))},
		{Name: "character device", Tar: tarOf(member{kind: '3', name: "c"}), Zip: zipOf(nil, special("c", 0o020644))},
		{Name: "block device", Tar: tarOf(member{kind: '4', name: "b"}), Zip: zipOf(nil, special("b", 0o060644))},
		{Name: "pipe", Tar: tarOf(member{kind: '6', name: "p"}), Zip: zipOf(nil, special("p", 0o010644))},
		{Name: "socket", Zip: zipOf(nil, special("s", 0o140644))},
		{Name: "setuid", Tar: tarOf(member{kind: '0', name: "s", body: "#!", mode: 0o6755}), Zip: zipOf(nil, special("s", 0o106755)), Taken: true},
		{Name: "sticky directory", Tar: tarOf(member{kind: '5', name: "d/", mode: 0o7777}), Taken: true},
		{Name: "NUL in a name", Tar: Data{once(pax("path", "a\x00b", file("a"))), end}, Zip: zipOf(nil, stored("a\x00b", "hostile"))},
		{Name: "name of 100,000 bytes", Tar: tarOf(file(long + "x")), Zip: zipOf(nil, stored(long[:60_000]+"x", "hostile"))},
		{Name: "part of a name of 300 bytes", Tar: tarOf(file(strings.Repeat("x", 300))), Zip: zipOf(nil, stored(strings.Repeat("x", 300), "hostile"))},
		{Name: "no UTF-8", Tar: tarOf(file("a\xff")), Zip: zipOf(nil, stored("a\xff", "hostile"))},
		{Name: "no name", Tar: tarOf(file("a/..")), Zip: zipOf(nil, stored("a/..", "hostile"))},
		{Name: "twice the same name", Tar: tarOf(file("f"), file("f")), Zip: zipOf(nil, stored("f", "1"), stored("f", "2"))},
		{Name: "a link and then a file of its name", Tar: tarOf(link("f", "g"), file("f"))},
		{Name: "names that differ in case", Tar: tarOf(file("README"), file("readme")), Zip: zipOf(nil, stored("README", "1"), stored("readme", "2")), Taken: true},
		{Name: "backslashes", Tar: tarOf(file(`..\x`)), Zip: zipOf(nil, stored(`..\x`, "hostile")), Taken: true},
		{Name: "a file that is not there to its end", Tar: Data{once(header('0', "f", "", 0o644, 10<<30)), once([]byte("short"))}},
		{Name: "a file of a length that cannot be", Tar: Data{once(header('0', "f", "", 0o644, 1<<62)), end}},
		{Name: "a directory that names a shorter file", Zip: zipOf(func(z *zipped) { z.raw = 3 }, stored("f", "longer than that"))},
		{Name: "a directory that names a longer file", Zip: zipOf(func(z *zipped) { z.raw = 300 }, stored("f", "shorter"))},
		{Name: "a directory with a wrong checksum", Zip: zipOf(func(z *zipped) { z.crc++ }, stored("f", "hostile"))},
		{Name: "a directory that points nowhere", Zip: zipOf(func(z *zipped) { z.at += 1 << 20 }, stored("f", "hostile"))},
		{Name: "entries that overlap", Zip: zipOf(func(z *zipped) { z.at = 0 }, stored("f", "hostile"), stored("g", "hostile"))},
		{Name: "no archive", Tar: Data{once(bytes.Repeat([]byte("no archive"), 1000))}, Zip: Data{once([]byte("PK\x03\x04 and no more"))}},
		{Name: "a terabyte of a sparse file", Large: true, Tar: Data{once(sparse("f", 1<<40)), end}},
		{Name: "names of a gigabyte in all", Large: true, Tar: Data{numbered(40_000, "%s"+strings.Repeat("/"+strings.Repeat("n", 250), 15)), end}},
		{Name: "directories that only names have", Large: true, Tar: Data{numbered(10_000, "%s"+strings.Repeat("/d", 1900)), end}},
		{Name: "the same directory without end", Large: true, Tar: Data{repeated(member{kind: '5', name: "d/"}.bytes(), manyFiles)}},
		{Name: "ten million files", Large: true, Tar: Data{numbered(manyFiles, "%s"), end}, Zip: manyZipped(manyFiles)},
		{Name: "ten gigabytes of zeros", Large: true, Tar: Data{once(header('0', "zeros", "", 0o644, bombMiB*mib)), repeated(make([]byte, mib), bombMiB), end}},
	}
	for i := range cases {
		if err := cases[i].compress(forms); err != nil {
			t.Fatal(err)
		}
	}
	return cases
}

func zipLink(target string) zipped {
	z := stored("l", target)
	z.mode = 0o120777
	return z
}

func special(name string, mode uint32) zipped {
	z := stored(name, "")
	z.mode = mode
	return z
}

// compress fills the compressed forms of a tar.
func (c *Case) compress(forms []string) (err error) {
	if slices.Contains(forms, "tar.gz") {
		c.Gzip, err = c.Tar.compressed(gzipped)
	}
	if err == nil && slices.Contains(forms, "tar.zst") {
		c.Zstd, err = c.Tar.compressed(zstandard)
	}
	if err == nil && strings.HasSuffix(c.Name, "zeros") {
		c.Zip, err = zippedZeros(bombMiB)
	}
	return err
}

func gzipped(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // a level that there is
	_, _ = w.Write(b)
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}

func zstandard(b []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return w.EncodeAll(b, nil), w.Close()
}

// Contained checks what is left in a directory that is alone in its own: nothing beside it, nothing but files, directories
// and links that stay inside, and no bits beyond those of permission.
func Contained(t testing.TB, root string) {
	t.Helper()
	base := filepath.Dir(root)
	if beside, err := os.ReadDir(base); err != nil || len(beside) != 1 {
		t.Errorf("beside the root: %v, %v", beside, err)
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode()
		if special := mode & (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | fs.ModeDevice | fs.ModeNamedPipe | fs.ModeSocket); special != 0 {
			t.Errorf("%s is %s", path, mode)
		}
		if mode&fs.ModeSymlink == 0 {
			return nil
		}
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if at, err := filepath.EvalSymlinks(path); filepath.IsAbs(target) || err == nil && at != real && !strings.HasPrefix(at, real+"/") {
			t.Errorf("%s leads to %s (%s)", path, target, at)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Memory fails the test when f lets the heap grow by more than so many bytes.
func Memory(t testing.TB, most uint64, f func()) {
	t.Helper()
	heap := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	before, peak := heap(), uint64(0)
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				peak = max(peak, heap())
			case <-stop:
				return
			}
		}
	})
	func() {
		defer watch.Wait()
		defer close(stop) // also when f ends the test
		f()
	}()
	if peak > before+most {
		t.Errorf("the heap grew by %d MiB, at most %d are allowed", (peak-before)/mib, most/mib)
	}
}

// Each runs f for every form of every case, with a limit of the heap.
func Each(t *testing.T, forms []string, f func(t *testing.T, c Case, form string, d Data)) {
	t.Helper()
	for _, c := range Cases(t, forms...) {
		all := c.Forms()
		for _, form := range slices.Sorted(maps.Keys(all)) {
			if !slices.Contains(forms, form) {
				continue
			}
			t.Run(c.Name+"/"+form, func(t *testing.T) {
				Memory(t, 512*mib, func() { f(t, c, form, all[form]) })
			})
		}
	}
}

var _ io.ReaderAt = Data{}
