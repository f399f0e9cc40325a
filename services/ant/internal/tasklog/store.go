package tasklog

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/formicary/formicary/libs/logfile"
)

// memory is how much of a log is kept there; a log that is not longer needs no file.
const memory = 64 << 10

// block is some text of one stream that was printed at once. It is kept as it is until the log is packed: most of what a
// task prints too much is dropped again, and the records of short lines are many times as long.
type block struct {
	offset int64 // of its first record
	line   int64 // how many lines have ended before it
	time   int64 // in microseconds since 1970
	stream logfile.Stream
	text   []byte
}

func (b block) at() time.Time { return time.UnixMicro(b.time) }

func (b block) append(dst []byte, plain bool) []byte {
	if plain {
		return append(dst, b.text...)
	}
	return logfile.Append(dst, b.stream, b.at(), b.text)
}

// blockHead is the size of what stands before the text of a block in the file. It is less than what Append adds to a text,
// so that what fits a limit as records fits it as blocks.
const blockHead = 8 + 8 + 8 + 4 + 1

func (b block) encode(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(b.offset))
	dst = le.AppendUint64(dst, uint64(b.line))
	dst = le.AppendUint64(dst, uint64(b.time))
	dst = le.AppendUint32(dst, uint32(len(b.text)))
	dst = append(dst, byte(b.stream))
	return append(dst, b.text...)
}

// store keeps the blocks of the beginning, most bytes of records, and of the end, last bytes. Those of the end stand in a
// ring behind those of the beginning.
type store struct {
	path       string
	most, last int64

	buf   []byte // blocks that are not in the file yet
	file  *os.File
	taken int64 // of most
	full  bool  // the beginning has its most
	first int64 // bytes of its blocks, once it is full

	from, to int64 // place of the oldest block of the ring and what follows the newest, in a file without end
	oldest   int64 // offset of that block
	end      int64 // offset of what follows the ring
	left     int64 // bytes of records that were left out
	err      error // the file failed
}

// add keeps a block whose records have a size, and drops the oldest of the ring for it. The size is at most last, unless
// that is 0.
func (s *store) add(b block, size int64) {
	if !s.full && s.taken+size <= s.most {
		s.taken += size
		s.write(b)
		return
	}
	if s.last == 0 {
		s.full = true
		s.left += size
		return
	}
	if !s.full {
		s.flush()
		s.full, s.first = true, s.to
		s.from, s.to, s.oldest, s.end = 0, 0, b.offset, b.offset
	}
	for b.offset+size-s.oldest > s.last && s.err == nil {
		s.drop()
	}
	s.end = b.offset + size
	s.write(b)
}

// skip leaves out what is before the offset and after what is kept. It ends the beginning, or empties the ring: the log has
// one cut.
func (s *store) skip(offset int64) {
	if s.last == 0 {
		return
	}
	s.flush()
	if !s.full {
		s.full, s.first, s.oldest = true, s.to, s.taken
	}
	s.left += offset - s.oldest
	s.from, s.to, s.oldest, s.end = 0, 0, offset, offset
}

func (s *store) write(b block) {
	if s.err != nil {
		return
	}
	if s.buf == nil {
		s.buf = make([]byte, 0, max(512, 2*(blockHead+len(b.text))))
	}
	if len(s.buf)+blockHead+len(b.text) > memory {
		s.flush()
	}
	s.buf = b.encode(s.buf)
}

// flush writes what is in memory to the file.
func (s *store) flush() {
	if s.err == nil && s.file == nil && len(s.buf) > 0 {
		s.file, s.err = os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	}
	if s.err != nil {
		return
	}
	for p := s.buf; len(p) > 0 && s.err == nil; {
		at, n := s.place(s.to, len(p))
		_, s.err = s.file.WriteAt(p[:n], at)
		p, s.to = p[n:], s.to+int64(n)
	}
	s.buf = s.buf[:0]
}

// place says where a place of the ring is in the file, and how many of n bytes are there before it begins anew.
func (s *store) place(at int64, n int) (place int64, m int) {
	if !s.full || s.last == 0 {
		return at, n
	}
	in := at % s.last
	return s.first + in, int(min(int64(n), s.last-in))
}

func (s *store) read(at int64, p []byte) error {
	for len(p) > 0 {
		place, n := s.place(at, len(p))
		if _, err := s.file.ReadAt(p[:n], place); err != nil {
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// drop leaves the oldest block of the ring out.
func (s *store) drop() {
	if s.to-s.from < 2*(blockHead+pieceSize) {
		s.flush() // it may not be in the file, nor the one after it
	}
	_, n, err := s.head(s.from)
	s.from += int64(blockHead + n)
	next := block{offset: s.end}
	if err == nil && s.from < s.to {
		next, _, err = s.head(s.from)
	}
	if err != nil {
		s.err = err
		return
	}
	s.left += next.offset - s.oldest
	s.oldest = next.offset
}

// head reads what stands before the text of a block, and how long that is.
func (s *store) head(at int64) (b block, n int, err error) {
	var head [blockHead]byte
	if err := s.read(at, head[:]); err != nil {
		return b, 0, fmt.Errorf("read back log: %w", err)
	}
	b, n = decode(head[:])
	return b, n, nil
}

// block reads the one at a place of the file. Its text is in buf.
func (s *store) block(at int64, buf []byte) (b block, err error) {
	b, n, err := s.head(at)
	if err != nil {
		return b, err
	}
	b.text = buf[:n]
	if err := s.read(at+blockHead, b.text); err != nil {
		return b, fmt.Errorf("read back log: %w", err)
	}
	return b, nil
}

func decode(head []byte) (b block, n int) {
	le := binary.LittleEndian
	b.offset, b.line, b.time = int64(le.Uint64(head)), int64(le.Uint64(head[8:])), int64(le.Uint64(head[16:]))
	b.stream = logfile.Stream(head[28])
	return b, int(le.Uint32(head[24:]))
}

// each calls do with the blocks in their order. The text is used again after that.
func (s *store) each(do func(block) error) error {
	if s.file != nil {
		s.flush()
	}
	if s.err != nil {
		return fmt.Errorf("keep log: %w", s.err)
	}
	if s.file == nil {
		for p := s.buf; len(p) > 0; {
			b, n := decode(p)
			b.text = p[blockHead : blockHead+n]
			p = p[blockHead+n:]
			if err := do(b); err != nil {
				return err
			}
		}
		return nil
	}
	buf := make([]byte, pieceSize)
	through := func(at, to int64) error {
		for at < to {
			b, err := s.block(at, buf)
			if err == nil {
				err = do(b)
			}
			if err != nil {
				return err
			}
			at += int64(blockHead + len(b.text))
		}
		return nil
	}
	if !s.full || s.last == 0 {
		return through(0, s.to)
	}
	s.full = false // the beginning has its places in the file
	err := through(0, s.first)
	s.full = true
	if err != nil {
		return err
	}
	return through(s.from, s.to)
}

func (s *store) remove() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.path)
		s.file = nil
	}
	s.buf = nil
}
