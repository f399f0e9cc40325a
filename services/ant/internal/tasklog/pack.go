package tasklog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/formicary/formicary/libs/logfile"
)

// Packed is a log as it is stored.
type Packed struct {
	// End is the offset that follows the last byte of the log.
	End int64
	// Size of what is stored, in bytes, and its SHA-256 in hex.
	Size int64
	Sum  string

	data io.ReaderAt
	file *os.File
}

// Reader reads it from the start.
func (p *Packed) Reader() io.Reader { return io.NewSectionReader(p.data, 0, p.Size) }

// Close deletes its file.
func (p *Packed) Close() {
	if p.file != nil {
		_ = p.file.Close()
		_ = os.Remove(p.file.Name())
	}
}

// Pack makes what is stored of the log, after Finish. It fails when the log could not be kept. The caller closes it.
func (l *Log) Pack() (*Packed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var (
		p      = &Packed{}
		sum    = sha256.New()
		memory bytes.Buffer
		to     = io.Writer(&memory)
	)
	if l.store.file != nil {
		var err error
		if p.file, err = os.OpenFile(l.opts.Path+".packed", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return nil, fmt.Errorf("pack log: %w", err)
		}
		to = p.file
	}
	out := bufio.NewWriterSize(io.MultiWriter(to, sum), 1<<10)
	counted := &counter{to: out}
	end, err := l.pack(counted)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("pack log: %w", err)
	}
	p.End, p.Size, p.Sum = end, counted.n, hex.EncodeToString(sum.Sum(nil))
	if p.data = p.file; p.file == nil {
		p.data = bytes.NewReader(memory.Bytes())
	}
	return p, nil
}

type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// pack writes the log and returns the offset that follows it.
func (l *Log) pack(to io.Writer) (end int64, err error) {
	if l.opts.Plain {
		return l.packText(to)
	}
	// What stands for the part that is left out must fit into it.
	for s := &l.store; s.left > 0 && s.left < markSize && s.err == nil; {
		s.drop()
	}
	w := logfile.NewWriter(to)
	var (
		at, lines int64 // what has been written
		last      time.Time
		open      bool // the last line has no end yet
	)
	skip := func(offset, line int64) error {
		if offset == at {
			return nil
		}
		why := fmt.Sprintf("its log_limit is %d", l.opts.Limit)
		if l.skipped {
			why = "the ant was restarted"
		}
		mark := fmt.Sprintf("[formicary: %d bytes of the log are left out here; %s]", offset-at, why)
		if ended := line - lines; ended > 0 { // it has a line of its own where there is one to stand for
			mark += "\n"
			if open && ended > 1 {
				mark = "\n" + mark
			}
		}
		if err := w.Write(logfile.Note, last, []byte(mark)); err != nil {
			return err
		}
		return w.Skip(offset, line)
	}
	err = l.store.each(func(b block) error {
		if err := skip(b.offset, b.line); err != nil {
			return err
		}
		last, open = b.at(), b.text[len(b.text)-1] != '\n'
		size, ended := logfile.Size(b.text)
		at, lines = b.offset+size, b.line+ended
		return w.Write(b.stream, b.at(), b.text)
	})
	if err == nil {
		err = skip(l.size, l.lines)
	}
	if err == nil {
		err = w.Close()
	}
	return l.size, err
}

// markSize is more than the records of a mark have.
const markSize = 512

func (l *Log) packText(to io.Writer) (end int64, err error) {
	err = l.store.each(func(b block) error {
		_, err := to.Write(b.text)
		return err
	})
	end = l.size
	if err == nil && l.store.left > 0 {
		n, failed := fmt.Fprintf(to, "\n[log ends here: the limit of %d bytes is reached]\n", l.opts.Limit)
		end, err = end+int64(n), failed
	}
	return end, err
}
