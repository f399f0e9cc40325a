package tasklog

import (
	"bytes"
	"time"

	"github.com/formicary/formicary/libs/logfile"
)

const (
	chunkSize = 32 << 10
	liveRate  = 1 << 20 // bytes per second, and the burst
)

// Chunk is a piece of the live tail: records, or text of a plain log.
type Chunk struct {
	Offset int64
	// Line is how many lines have ended before it.
	Line int64
	Data []byte
	End  bool
}

// live is the tail on its way to those who watch.
type live struct {
	show     func(Chunk)
	plain    bool
	pending  []byte
	at, line int64 // where pending begins
	allowed  float64
	refilled time.Time
}

// add shows a block whose records have a size, or drops it when the task prints too fast.
func (v *live) add(b block, size int64) {
	now := time.Now()
	if v.refilled.IsZero() {
		v.allowed = liveRate
	} else {
		v.allowed = min(liveRate, v.allowed+now.Sub(v.refilled).Seconds()*liveRate)
	}
	v.refilled = now
	if v.allowed < float64(size) {
		v.send(b.offset, b.line, false)
		return
	}
	v.allowed -= float64(size)
	for len(b.text) > 0 {
		n := len(b.text)
		if !v.plain {
			if i := bytes.IndexByte(b.text, '\n') + 1; i > 0 {
				n = i
			}
		}
		part := b
		part.text = b.text[:n]
		size, lines := int64(n), int64(0)
		if !v.plain {
			size, lines = logfile.Size(part.text)
		}
		if len(v.pending)+int(size) > chunkSize {
			v.send(b.offset, b.line, false)
		}
		if len(v.pending) == 0 {
			v.at, v.line = b.offset, b.line
		}
		v.pending = part.append(v.pending, v.plain)
		b.text, b.offset, b.line = b.text[n:], b.offset+size, b.line+lines
	}
}

// send hands on what is pending; next is what follows it, or a part that is dropped.
func (v *live) send(next, line int64, end bool) {
	if len(v.pending) == 0 {
		v.at, v.line = next, line
		if !end {
			return
		}
	}
	v.show(Chunk{Offset: v.at, Line: v.line, Data: v.pending, End: end})
	v.pending = nil // belongs to the receiver now
}
