package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/archive"
)

const benchSize = 256 << 20

// mixed is text that compresses to about a half.
func mixed(n int) []byte {
	b := bytes.NewBuffer(make([]byte, 0, n+64))
	random := noise(7, 1<<20)
	for i := 0; b.Len() < n; i++ {
		at := (i * 7919) % (len(random) - 40)
		fmt.Fprintf(b, "line %d of a log %s\n", i, random[at:at+40])
	}
	return b.Bytes()[:n]
}

func BenchmarkWrite(b *testing.B) {
	for name, data := range map[string][]byte{"random": []byte(noise(1, benchSize)), "mixed": mixed(benchSize)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				archived(b, io.Discard, data)
			}
		})
	}
}

func archived(b *testing.B, out io.Writer, data []byte) {
	b.Helper()
	w, err := archive.NewWriter(out, archive.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	_ = w.Add(&tar.Header{Typeflag: tar.TypeReg, Name: "data", Size: int64(len(data))}, bytes.NewReader(data))
	_ = w.Add(&tar.Header{Typeflag: tar.TypeReg, Name: "small", Size: 4 << 10}, strings.NewReader(noise(2, 4<<10)))
	if _, err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRead(b *testing.B) {
	for name, data := range map[string][]byte{"random": []byte(noise(1, benchSize)), "mixed": mixed(benchSize)} {
		var packed bytes.Buffer
		archived(b, &packed, data)
		b.Run("all/"+name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				raw, err := archive.Decompress(bytes.NewReader(packed.Bytes()), archive.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, raw); err != nil {
					b.Fatal(err)
				}
				_ = raw.Close()
			}
		})
		b.Run("one/"+name, func(b *testing.B) {
			for b.Loop() {
				a, err := archive.Open(b.Context(), archive.At(bytes.NewReader(packed.Bytes())), int64(packed.Len()), archive.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				e, err := a.Find("small")
				if err != nil {
					b.Fatal(err)
				}
				r, err := a.OpenFile(b.Context(), e, 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); err != nil || n != 4<<10 {
					b.Fatal(n, err)
				}
				_ = r.Close()
			}
		})
	}
}

// BenchmarkSmallFiles packs and extracts 20,000 files of 1 KiB.
func BenchmarkSmallFiles(b *testing.B) {
	root := openRoot(b)
	for i := range 20_000 {
		dir := fmt.Sprint("d", i%200)
		if i < 200 {
			if err := root.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := root.WriteFile(fmt.Sprint(dir, "/f", i), []byte(noise(uint64(i), 1<<10)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	var packed bytes.Buffer
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			packed.Reset()
			packTree(b, root, &packed)
		}
	})
	b.Run("extract", func(b *testing.B) {
		for b.Loop() {
			if err := extract(openRoot(b), packed.Bytes()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func packTree(b *testing.B, root *os.Root, out io.Writer) {
	b.Helper()
	p, err := archive.Compile([]string{"."})
	if err != nil {
		b.Fatal(err)
	}
	r, pw := io.Pipe()
	go func() {
		_, err := archive.Pack(context.WithoutCancel(b.Context()), pw, root, p, archive.Limits{})
		_ = pw.CloseWithError(err)
	}()
	w, err := archive.NewWriter(out, archive.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	_ = w.Tar(r)
	if _, err := w.Close(); err != nil {
		b.Fatal(err)
	}
}
