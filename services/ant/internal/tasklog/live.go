package tasklog

import (
	"bytes"
	"time"

	"github.com/formicary/formicary/libs/logfile"
)

const (
	chunkSize = 32 << 10
	liveRate  = 1 << 20 // bytes per second, and the burst
	heldSize  = 1 << 20 // what may not have been shown when an earlier log ended
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

	again bool // an earlier log may have shown what comes
	held  []Chunk
	size  int // of what is held
}

// repeat says whether what comes may have been shown. Of that the last is held, and shown when it ends.
func (v *live) repeat(yes bool) {
	if len(v.pending) > 0 {
		v.send(0, 0, false)
	}
	v.again = yes
	if yes {
		return
	}
	for _, c := range v.held {
		v.show(c)
	}
	v.held, v.size = nil, 0
}

// hold keeps a chunk instead of showing it.
func (v *live) hold(c Chunk) {
	v.held, v.size = append(v.held, c), v.size+len(c.Data)
	for v.size > heldSize {
		v.size -= len(v.held[0].Data)
		v.held = v.held[1:]
	}
}

// add shows a block whose records have a size, or drops it when the task prints too fast.
func (v *live) add(b block, size int64) {
	if !v.again && !v.allow(size) {
		v.send(b.offset, b.line, false)
		return
	}
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

// allow reports whether so much may be shown now.
func (v *live) allow(size int64) bool {
	now := time.Now()
	if v.refilled.IsZero() {
		v.allowed = liveRate
	} else {
		v.allowed = min(liveRate, v.allowed+now.Sub(v.refilled).Seconds()*liveRate)
	}
	v.refilled = now
	if v.allowed < float64(size) {
		return false
	}
	v.allowed -= float64(size)
	return true
}

// send hands on what is pending; next is what follows it, or a part that is dropped.
func (v *live) send(next, line int64, end bool) {
	if len(v.pending) == 0 {
		v.at, v.line = next, line
		if !end {
			return
		}
	}
	c := Chunk{Offset: v.at, Line: v.line, Data: v.pending, End: end}
	v.pending = nil // belongs to the receiver now
	if v.again {
		v.hold(c)
		return
	}
	v.show(c)
}
