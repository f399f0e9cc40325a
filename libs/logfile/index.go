package logfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// ErrFile says that a stored log cannot be read: it is none, or is damaged.
var ErrFile = errors.New("not a stored log, or a damaged one")

const (
	// frameSize is how many bytes of records a frame holds, unless they end in a long line.
	frameSize = 256 << 10
	// maxFrame is the most that a frame may hold, in bytes of records, and itself.
	maxFrame = 1 << 20
	// maxFrames bounds the index.
	maxFrames = 1 << 20

	skippable  = 0x184D2A5E
	headSize   = 8 // of the skippable frame: its magic and the size of the rest
	entrySize  = 32
	footerSize = 36
	footer     = "fmc-log1"
	insideLine = 1 << 31
)

// frame is what the index says of one.
type frame struct {
	place  int64 // of its first byte in the file
	size   int64 // in the file
	offset int64 // of its first record
	length int64 // of its records
	line   int64 // how many lines have ended before it
	first  int64 // time of its first record, in microseconds since 1970
	inside bool  // it begins inside a line
}

func (f frame) end() int64 { return f.offset + f.length }

// index of a stored log. It ends with what follows the last record.
type index struct {
	frames []frame
	end    int64 // offset
	lines  int64 // that have ended
	open   bool  // a line has begun after them
}

// append adds the skippable frame that holds the index.
func (x *index) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, skippable)
	dst = le.AppendUint32(dst, uint32(len(x.frames)*entrySize+footerSize))
	from := len(dst)
	for _, f := range x.frames {
		length := uint32(f.length)
		if f.inside {
			length |= insideLine
		}
		dst = le.AppendUint32(dst, uint32(f.size))
		dst = le.AppendUint32(dst, length)
		dst = le.AppendUint64(dst, uint64(f.offset))
		dst = le.AppendUint64(dst, uint64(f.line))
		dst = le.AppendUint64(dst, uint64(f.first))
	}
	dst = le.AppendUint64(dst, uint64(x.end))
	dst = le.AppendUint64(dst, uint64(x.lines))
	dst = le.AppendUint32(dst, uint32(len(x.frames)))
	open := uint32(0)
	if x.open {
		open = 1
	}
	dst = le.AppendUint32(dst, open)
	dst = le.AppendUint32(dst, crc32.ChecksumIEEE(dst[from:]))
	return append(dst, footer...)
}

// indexSize reads from the last bytes of a file how many the index has.
func indexSize(tail []byte, size int64) (int64, error) {
	if len(tail) < headSize+footerSize || string(tail[len(tail)-len(footer):]) != footer {
		return 0, ErrFile
	}
	n := binary.LittleEndian.Uint32(tail[len(tail)-footerSize+16:])
	all := int64(n)*entrySize + headSize + footerSize
	if n > maxFrames || all > size {
		return 0, fmt.Errorf("%w: an index of %d frames in %d bytes", ErrFile, n, size)
	}
	return all, nil
}

// parse reads the index of a file of a size. Nothing that it says is believed without a bound.
func parse(p []byte, size int64) (x index, err error) {
	le := binary.LittleEndian
	body, foot := p[headSize:len(p)-footerSize], p[len(p)-footerSize:]
	if le.Uint32(p) != skippable || int(le.Uint32(p[4:])) != len(p)-headSize {
		return x, fmt.Errorf("%w: the index has no frame", ErrFile)
	}
	if crc32.ChecksumIEEE(p[headSize:len(p)-footerSize+24]) != le.Uint32(foot[24:]) {
		return x, fmt.Errorf("%w: the checksum of the index is wrong", ErrFile)
	}
	x.end, x.lines, x.open = int64(le.Uint64(foot)), int64(le.Uint64(foot[8:])), le.Uint32(foot[20:])&1 != 0
	x.frames = make([]frame, 0, len(body)/entrySize)
	last := frame{}
	for ; len(body) > 0; body = body[entrySize:] {
		length := le.Uint32(body[4:])
		f := frame{
			place: last.place + last.size, size: int64(le.Uint32(body)), length: int64(length &^ insideLine), inside: length&insideLine != 0,
			offset: int64(le.Uint64(body[8:])), line: int64(le.Uint64(body[16:])), first: int64(le.Uint64(body[24:])),
		}
		if f.size == 0 || f.size > maxFrame || f.length == 0 || f.length > maxFrame || f.offset < last.end() || f.offset > 1<<60 || f.line < last.line || f.first < last.first {
			return x, fmt.Errorf("%w: frame %d of the index is wrong", ErrFile, len(x.frames))
		}
		x.frames = append(x.frames, f)
		last = f
	}
	if last.place+last.size != size-int64(len(p)) || x.end < last.end() || x.end > 1<<60 || x.lines < last.line {
		return x, fmt.Errorf("%w: the index does not fit the frames", ErrFile)
	}
	return x, nil
}

// micros counts the microseconds since 1970, which no earlier time has.
func micros(t time.Time) int64 { return max(t.UnixMicro(), 0) }
