package transfer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/transfer"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// store is an object store and who signs for it. It cuts some connections.
type store struct {
	url   string
	size  int64
	gone  bool // the attempt is not live
	mu    sync.Mutex
	parts map[int][]byte
	whole []byte
	sum   archive.Summary
	cuts  int // connections still to be cut
	cut   int
}

func newStore(t *testing.T, cuts int) (*store, *transfer.Mover) {
	t.Helper()
	s := &store{size: 1 << 20, parts: map[int][]byte{}, cuts: cuts}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return s, &transfer.Mover{HTTP: client, Store: s, Patience: 20 * time.Second}
}

func (s *store) Begin(context.Context, string) (string, int64, error) {
	if s.gone {
		return "", 0, errs.Precondition("STALE_ATTEMPT", "not live")
	}
	return "u", s.size, nil
}

func (s *store) SignPart(_ context.Context, _ string, number int) (string, error) {
	return fmt.Sprint(s.url, "/part/", number, "?signature=secret"), nil
}

func (s *store) SignRead(context.Context, string) (string, error) {
	return s.url + "/whole?signature=secret", nil
}

func (s *store) Complete(_ context.Context, _ string, etags []string, sum archive.Summary) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = nil
	for i, tag := range etags {
		part := s.parts[i+1]
		if md := md5.Sum(part); hex.EncodeToString(md[:]) != tag {
			return errors.New("a part is not what was sent")
		}
		s.whole = append(s.whole, part...)
	}
	s.sum = sum
	return nil
}

// cutNow says whether this connection is to be cut.
func (s *store) cutNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut < s.cuts {
		s.cut++
		return true
	}
	return false
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		if s.cutNow() {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			panic(http.ErrAbortHandler)
		}
		data, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		number, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/part/"))
		s.mu.Lock()
		s.parts[number] = data
		s.mu.Unlock()
		md := md5.Sum(data)
		w.Header().Set("ETag", hex.EncodeToString(md[:]))
		return
	}
	if s.cutNow() {
		w = &short{ResponseWriter: w, left: 1500 << 10}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.whole))
}

// short cuts an answer.
type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return s.ResponseWriter.Write(p)
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func upload(t *testing.T, m *transfer.Mover, data []byte) error {
	t.Helper()
	_, _, err := m.Upload(t.Context(), "files", func(w *archive.Writer) error {
		return w.Add(&tar.Header{Typeflag: tar.TypeReg, Name: "data", Size: int64(len(data))}, bytes.NewReader(data))
	})
	return err
}

// Connections that are cut cost a part, and what arrives is what was sent.
func TestCutConnections(t *testing.T) {
	s, m := newStore(t, 3)
	data := noise(5<<20 + 7)
	if err := upload(t, m, data); err != nil {
		t.Fatal(err)
	}
	if s.cut != 3 || len(s.parts) < 5 {
		t.Errorf("%d cuts, %d parts", s.cut, len(s.parts))
	}
	s.cuts = 6
	var got []byte
	err := m.Download(t.Context(), transfer.Input{ID: "1", Bytes: int64(len(s.whole)), SHA256: s.sum.SHA256}, func(r io.Reader) (err error) {
		in := tar.NewReader(r)
		if _, err := in.Next(); err != nil {
			return err
		}
		got, err = io.ReadAll(in)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.cut != 6 || !bytes.Equal(got, data) {
		t.Errorf("%d cuts, %d bytes", s.cut, len(got))
	}
}

// Other bytes than those of the digest are an error.
func TestAnotherDigest(t *testing.T) {
	s, m := newStore(t, 0)
	if err := upload(t, m, noise(10)); err != nil {
		t.Fatal(err)
	}
	err := m.Download(t.Context(), transfer.Input{ID: "1", Bytes: int64(len(s.whole)), SHA256: strings.Repeat("0", 64)}, func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, archive.ErrDamaged) {
		t.Error(err)
	}
}

// What stays broken is given up, with an error that shows no signature; what is final at once.
func TestGivingUp(t *testing.T) {
	s, m := newStore(t, 1<<30)
	m.Patience = 50 * time.Millisecond
	if err := upload(t, m, noise(3<<20)); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	s.gone, m.Patience = true, time.Hour
	if err := upload(t, m, noise(1)); errs.Reason(err) != "STALE_ATTEMPT" {
		t.Error(err)
	}
}

// A task whose files cannot be read, and one that was stopped, leave no artifact.
func TestFailingSources(t *testing.T) {
	_, m := newStore(t, 0)
	broken := errors.New("broken")
	if _, _, err := m.Upload(t.Context(), "files", func(*archive.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, _, err := m.Upload(ctx, "files", func(*archive.Writer) error { return nil }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// pieces is a file in memory.
type pieces struct {
	mu sync.Mutex
	b  []byte
}

func (p *pieces) WriteAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return copy(p.b[off:], b), nil
}

// A file is fetched in pieces at once, each of which goes on where it was cut, and what is not what was asked for is found out.
func TestFetch(t *testing.T) {
	s, m := newStore(t, 0)
	if err := upload(t, m, noise(18<<20)); err != nil {
		t.Fatal(err)
	}
	s.cuts = 6
	in := transfer.Input{ID: "1", Bytes: int64(len(s.whole)), SHA256: s.sum.SHA256}
	got := &pieces{b: make([]byte, in.Bytes)}
	if err := m.Fetch(t.Context(), in, got); err != nil {
		t.Fatal(err)
	}
	if s.cut != 6 || !bytes.Equal(got.b, s.whole) {
		t.Errorf("%d cuts, the same: %t", s.cut, bytes.Equal(got.b, s.whole))
	}
	if err := transfer.Check(bytes.NewReader(got.b), in, archive.Limits{}); err != nil {
		t.Error(err)
	}
	got.b[9<<20] ^= 1
	if err := transfer.Check(bytes.NewReader(got.b), in, archive.Limits{}); err == nil {
		t.Error("damaged, and nobody says so")
	}
	s.cuts, m.Patience = 1<<30, 50*time.Millisecond
	if err := m.Fetch(t.Context(), in, got); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("given up: %v", err)
	}
}

// What is uploaded can be copied on the way.
func TestTee(t *testing.T) {
	s, m := newStore(t, 1)
	var copied bytes.Buffer
	m.Tee = &copied
	if err := upload(t, m, noise(3<<20)); err != nil || !bytes.Equal(copied.Bytes(), s.whole) {
		t.Errorf("%v, %d bytes of %d", err, copied.Len(), len(s.whole))
	}
}
