package shell

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// record is a file that keeps what a session has printed, so that the next life of the ant has it too. The kernel moves
// the bytes from the pipe into the file: what was printed is in one of them at any moment, whenever the ant is killed.
//
// It is a sequence of pieces: a header of two words, then the bytes. The first word is the time in microseconds and the
// kind, the second the length. The header is written first; of a last piece that is not whole the rest is in the pipe.
// Of a record that grows beyond what is kept the middle becomes a hole, in which the log has its own cut already.
type record struct {
	file *os.File
	base int64 // where this attempt begins: a record is used again
	size int64 // where the next piece begins

	gap     int64   // where the hole begins; 0 when there is none yet
	borders []int64 // places behind it at which pieces begin, about borderEvery apart
}

const (
	pieceHeader = 16
	kindBits    = 2
	keptHead    = 64 << 20
	keptTail    = 64 << 20
	borderEvery = 16 << 20
)

// Kinds of pieces: the two streams, and the hole.
const (
	fromStdout = iota
	fromStderr
	hole
)

// take moves what the pipe holds into the record, at most as much as buf, and returns it. At the end of the stream it is
// io.EOF; errEmpty says that nothing is there yet.
func (r *record) take(pipe int, kind int, buf []byte) ([]byte, error) {
	n, err := waiting(pipe)
	if err != nil {
		return nil, err
	}
	n = min(n, len(buf))
	if err := r.begin(kind, time.Now(), int64(n)); err != nil {
		return nil, err
	}
	return r.fill(pipe, r.size, buf[:n], 0)
}

var errEmpty = errors.New("the pipe is empty")

// waiting is how much the pipe holds.
func waiting(pipe int) (int, error) {
	for {
		n, err := unix.IoctlGetInt(pipe, unix.TIOCINQ)
		if err != nil || n > 0 {
			return n, err
		}
		p := []unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}}
		switch _, err := unix.Poll(p, 0); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case p[0].Revents&unix.POLLIN != 0:
		case p[0].Revents&unix.POLLHUP != 0:
			return 0, io.EOF
		default:
			return 0, errEmpty
		}
	}
}

// begin writes the header of a piece at the end.
func (r *record) begin(kind int, at time.Time, length int64) error {
	if err := r.header(r.size, kind, at, length); err != nil {
		return err
	}
	r.punch()
	r.size += pieceHeader
	return nil
}

func (r *record) header(at int64, kind int, t time.Time, length int64) error {
	var h [pieceHeader]byte
	binary.LittleEndian.PutUint64(h[:], uint64(t.UnixMicro())<<kindBits|uint64(kind))
	binary.LittleEndian.PutUint64(h[8:], uint64(length))
	if _, err := r.file.WriteAt(h[:], at); err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	return nil
}

// fill moves the bytes of a piece that begins at from and has its first done bytes, and returns it whole.
func (r *record) fill(pipe int, from int64, piece []byte, done int) ([]byte, error) {
	for done < len(piece) {
		at := from + int64(done)
		n, err := unix.Splice(pipe, nil, int(r.file.Fd()), &at, len(piece)-done, unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF // nobody but this reads the pipe
		}
		if err != nil {
			return nil, fmt.Errorf("keep output: %w", err)
		}
		done += int(n)
	}
	r.size = from + int64(len(piece))
	if _, err := r.file.ReadAt(piece, from); err != nil {
		return nil, fmt.Errorf("keep output: %w", err)
	}
	return piece, nil
}

// punch takes the middle out of a record that has become too long. The piece that begins at size is the newest.
func (r *record) punch() {
	switch {
	case r.size-r.base < keptHead:
		return
	case r.gap == 0:
		r.gap = r.size
	case r.size-r.last() >= borderEvery:
		r.borders = append(r.borders, r.size)
	}
	for len(r.borders) > 1 && r.size-r.borders[1] >= keptTail {
		r.borders = r.borders[1:]
		to := r.borders[0]
		if r.header(r.gap, hole, time.Now(), to-r.gap-pieceHeader) == nil {
			_ = unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.gap+pieceHeader, to-r.gap-pieceHeader)
		}
	}
}

func (r *record) last() int64 {
	if n := len(r.borders); n > 0 {
		return r.borders[n-1]
	}
	return r.gap
}

// replay hands on the pieces of an earlier life. Of a last piece that is not whole it moves the rest from its pipe.
func (r *record) replay(pipes [2]int, buf []byte, say func(kind int, t time.Time, p []byte, missing int64)) error {
	for {
		var h [pieceHeader]byte
		if n, err := r.file.ReadAt(h[:], r.size); n < pieceHeader {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read kept output: %w", err)
		}
		word, length := binary.LittleEndian.Uint64(h[:]), int64(binary.LittleEndian.Uint64(h[8:]))
		kind, t := int(word&(1<<kindBits-1)), time.UnixMicro(int64(word>>kindBits))
		from := r.size + pieceHeader
		if kind == hole {
			r.gap, r.borders = r.size, []int64{from + length}
			r.size = from + length
			say(kind, t, nil, length)
			continue
		}
		if kind > hole || length < 0 || length > int64(len(buf)) {
			return fmt.Errorf("read kept output: no piece at %d", r.size)
		}
		n, err := r.file.ReadAt(buf[:length], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read kept output: %w", err)
		}
		piece := buf[:length]
		if n < len(piece) {
			piece, err = r.fill(pipes[kind], from, piece, n) // #nosec G602 -- it is no hole
			if err != nil {
				return err
			}
		}
		r.punch()
		r.size = from + length
		say(kind, t, piece, 0)
	}
}
