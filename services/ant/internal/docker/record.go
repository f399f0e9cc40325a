package docker

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// record is a file of what the log of an attempt was told, for the next life of the ant: the same pieces at the same times make
// the same log. What it has not got, what was printed while no ant was there above all, comes out of what the engine keeps,
// behind the bytes that were told.
//
// Each piece has a header of two words: its time in microseconds and its kind, and its length. Of a log that is longer than
// mostRecorded only how much was told is noted, in the words at the beginning of the file.
type record struct {
	path string
	file *os.File
	size int64
	told told
	full bool
	off  bool // it cannot be kept
}

// told is what a log knows already.
type told struct {
	bytes [2]int64       // of each stream
	first [2][]byte      // how they begin
	last  time.Time      // when the newest of it was printed
	notes map[string]int // lines of services by their names
}

const (
	mostRecorded = 64 << 20
	recordHead   = 3 * 8
	pieceHead    = 2 * 8
	longestFirst = 512
	recordDir    = "containers"
)

// Kinds of pieces: the two streams, and notes.
const (
	fromStdout = iota
	fromStderr
	fromAnt
)

// recordOf is the one of an attempt; nil for an ant without a directory.
func (e *Executor) recordOf(uid string) *record {
	if e.opts.Dir == "" || !filepath.IsLocal(uid) {
		return nil
	}
	return &record{path: filepath.Join(e.opts.Dir, recordDir, uid), size: recordHead}
}

// add notes a piece before the log is told.
func (r *record) add(kind int, at time.Time, p []byte) {
	if r == nil || r.off || len(p) == 0 {
		return
	}
	err := r.open()
	r.told.add(kind, at, p)
	switch {
	case err != nil:
	case r.full || r.size+pieceHead+int64(len(p)) > mostRecorded:
		r.full = true
		_, err = r.file.WriteAt(r.told.encode(), 0)
	default:
		piece := binary.LittleEndian.AppendUint64(make([]byte, 0, pieceHead+len(p)), uint64(at.UnixMicro())<<2|uint64(kind)) // #nosec G115 -- after 1970, below 3
		piece = append(binary.LittleEndian.AppendUint64(piece, uint64(len(p))), p...)
		_, err = r.file.WriteAt(piece, r.size)
		r.size += int64(len(piece))
	}
	r.off = err != nil
}

func (r *record) open() (err error) {
	if r.file == nil {
		if err = os.MkdirAll(filepath.Dir(r.path), 0o700); err == nil {
			r.file, err = os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
		}
	}
	return err
}

func (t *told) add(kind int, at time.Time, p []byte) {
	t.last = at
	if kind != fromAnt {
		t.bytes[kind] += int64(len(p))
		t.first[kind] = append(t.first[kind], p[:min(len(p), longestFirst-len(t.first[kind]))]...)
		return
	}
	if name, _, ok := strings.Cut(strings.TrimPrefix(string(p), "["), "] "); ok && p[0] == '[' {
		if t.notes == nil {
			t.notes = map[string]int{}
		}
		t.notes[name]++
	}
}

func (t *told) encode() []byte {
	le := binary.LittleEndian
	return le.AppendUint64(le.AppendUint64(le.AppendUint64(nil, uint64(t.bytes[0])), uint64(t.bytes[1])), uint64(t.last.UnixMicro())) // #nosec G115 -- not below 0
}

// replay hands on what an earlier life has told its log. What comes after that is added.
func (r *record) replay(say func(kind int, at time.Time, p []byte)) error {
	if r == nil {
		return nil
	}
	if _, err := os.Stat(r.path); errors.Is(err, os.ErrNotExist) {
		return nil // nothing was told
	}
	if err := r.open(); err != nil {
		return err
	}
	for {
		var h [pieceHead]byte
		if _, err := r.file.ReadAt(h[:], r.size); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		word, length := binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])
		kind, at := int(word&3), time.UnixMicro(int64(word>>2)) // #nosec G115 -- as it was written
		if kind > fromAnt || length > mostRecorded {
			return errors.New("it is damaged")
		}
		p := make([]byte, length)
		if _, err := r.file.ReadAt(p, r.size+pieceHead); errors.Is(err, io.EOF) {
			break // the log was not told
		} else if err != nil {
			return err
		}
		r.size += pieceHead + int64(length) // #nosec G115 -- bounded above
		r.told.add(kind, at, p)
		say(kind, at, p)
	}
	var h [recordHead]byte
	if _, err := r.file.ReadAt(h[:], 0); err == nil {
		le := binary.LittleEndian
		if at := le.Uint64(h[16:]); at > 0 {
			r.full = true
			r.told.bytes = [2]int64{int64(le.Uint64(h[:])), int64(le.Uint64(h[8:]))} // #nosec G115 -- as it was written
			r.told.last = time.UnixMicro(int64(at))                                  // #nosec G115 -- as it was written
		}
	}
	return nil
}

// remove deletes the file.
func (r *record) remove() {
	if r != nil && r.file != nil {
		r.off = true
		_ = r.file.Close()
		_ = os.Remove(r.path)
	}
}

// removeRecords deletes those of attempts that do not go on.
func (e *Executor) removeRecords() {
	dir := filepath.Join(e.opts.Dir, recordDir)
	all, err := os.ReadDir(dir)
	if err != nil || e.opts.Dir == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range all {
		if _, ok := e.found[f.Name()]; !ok {
			_ = os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}
