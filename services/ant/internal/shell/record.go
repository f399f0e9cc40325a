package shell

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// record is a file that keeps what a session has printed, so that the next life of the ant has it too. The kernel moves
// the bytes from the pipe into the file: what was printed is in one of them at any moment, whenever the ant is killed.
//
// It is a sequence of pieces: a header of two words, then the bytes. The first word is the time in microseconds and the
// kind, the second the length. The header is written first; of a last piece that is not whole the rest is in the pipe.
// Of a record that grows beyond what is kept the middle becomes a hole, in which the log has its own cut already.
type record struct {
	file *os.File
	keep kept
	base int64 // where this attempt begins: a record is used again
	size int64 // where the next piece begins

	gap     int64    // where the hole begins; 0 when there is none yet
	borders []border // behind it, kept.borders apart
	log     executor.Replayer
}

const (
	pieceHeader = 16
	kindBits    = 2
)

// kept is how much of a record is kept: at least the head and the tail. A hole ends at a border, and those are so far apart.
type kept struct{ head, tail, borders int64 }

var keptOutput = kept{64 << 20, 64 << 20, 16 << 20} //nolint:gochecknoglobals // a constant

// Kinds of pieces: the two streams, the hole, and notes of the ant.
const (
	fromStdout = iota
	fromStderr
	hole // its first bytes are the place at which the log goes on behind it
	fromAnt
)

// place is one of the log: see executor.Replayer.
type place struct{ offset, line int64 }

const placeSize = 16

// border is the beginning of a piece at which a hole may end.
type border struct {
	at  int64
	log place
}

// take moves what the pipe holds into the record, at most as much as buf, and returns it. At the end of the stream it is
// io.EOF; errEmpty says that nothing is there yet.
func (r *record) take(pipe int, kind int, buf []byte) ([]byte, error) {
	n, err := waiting(pipe)
	if err != nil {
		return nil, err
	}
	n = min(n, len(buf))
	if err := r.begin(kind, int64(n)); err != nil {
		return nil, err
	}
	return r.fill(pipe, r.size, buf[:n], 0)
}

// note keeps a line of the ant. What is told after it has its time.
func (r *record) note(line string) error {
	if err := r.begin(fromAnt, int64(len(line))); err != nil {
		return err
	}
	if _, err := r.file.WriteAt([]byte(line), r.size); err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	r.size += int64(len(line))
	return nil
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

// begin writes the header of a piece at the end. The log gets the time that it has.
func (r *record) begin(kind int, length int64) error {
	now := time.Now()
	r.at(now)
	if _, err := r.file.WriteAt(header(kind, now, length), r.size); err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	r.punch()
	r.size += pieceHeader
	return nil
}

func (r *record) at(t time.Time) {
	if r.log != nil {
		r.log.At(t)
	}
}

// header of a piece.
func header(kind int, t time.Time, length int64) []byte {
	h := make([]byte, 0, pieceHeader+placeSize)
	h = binary.LittleEndian.AppendUint64(h, uint64(t.UnixMicro())<<kindBits|uint64(kind))
	return binary.LittleEndian.AppendUint64(h, uint64(length))
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
	case r.size-r.base < r.keep.head:
		return
	case r.gap == 0:
		r.gap = r.size
		r.place()
	case r.size-r.last() >= r.keep.borders:
		r.borders = append(r.borders, border{r.size, r.place()})
	}
	for len(r.borders) > 1 && r.size-r.borders[1].at >= r.keep.tail {
		r.borders = r.borders[1:]
		r.cut(r.borders[0])
	}
}

// place is where the log goes on with the piece that begins.
func (r *record) place() (p place) {
	if r.log != nil {
		p.offset, p.line = r.log.Place()
	}
	return p
}

// cut makes the hole reach to a border.
func (r *record) cut(to border) {
	length := to.at - r.gap - pieceHeader
	h := header(hole, time.Now(), length)
	h = binary.LittleEndian.AppendUint64(h, uint64(to.log.offset))
	h = binary.LittleEndian.AppendUint64(h, uint64(to.log.line))
	if _, err := r.file.WriteAt(h, r.gap); err == nil {
		from := r.gap + int64(len(h))
		_ = unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to.at-from)
	}
}

func (r *record) last() int64 {
	if n := len(r.borders); n > 0 {
		return r.borders[n-1].at
	}
	return r.gap
}

// replay hands on the pieces of an earlier life. Of a last piece that is not whole it moves the rest from its pipe.
func (r *record) replay(pipes [2]int, buf []byte, say func(kind int, p []byte)) error {
	defer r.at(time.Time{})
	for {
		var h [pieceHeader + placeSize]byte
		n, err := r.file.ReadAt(h[:], r.size)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read kept output: %w", err)
		}
		if n < pieceHeader {
			return nil
		}
		word, length := binary.LittleEndian.Uint64(h[:]), int64(binary.LittleEndian.Uint64(h[8:]))
		kind, from := int(word&(1<<kindBits-1)), r.size+pieceHeader
		r.at(time.UnixMicro(int64(word >> kindBits)))
		if kind == hole && length >= placeSize {
			log := place{int64(binary.LittleEndian.Uint64(h[16:])), int64(binary.LittleEndian.Uint64(h[24:]))}
			r.gap, r.size = r.size, from+length
			r.borders = []border{{r.size, log}}
			if r.log != nil && log.offset > 0 {
				r.log.Skip(log.offset, log.line)
			} else {
				say(fromAnt, fmt.Appendf(nil, "[%d bytes that were printed here are not kept over a restart of the ant]", length))
			}
			continue
		}
		if kind == hole || length < 0 || length > int64(len(buf)) {
			return fmt.Errorf("read kept output: no piece at %d", r.size)
		}
		piece := buf[:length]
		n, err = r.file.ReadAt(piece, from)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read kept output: %w", err)
		}
		if n < len(piece) && kind == fromAnt {
			return nil // the log has not got it either
		}
		r.punch()
		if n < len(piece) {
			if piece, err = r.fill(pipes[kind], from, piece, n); err != nil { // #nosec G602 -- it is no hole
				return err
			}
		}
		r.size = from + length
		say(kind, piece)
	}
}
