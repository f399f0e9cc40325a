package docker

import (
	"io"
	"sync"
	"time"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// orderly is an output of several containers, one after the other. What it is told is recorded.
type orderly struct {
	mu     sync.Mutex
	out    executor.Output
	record *record
	then   time.Time // of what comes next, zero when that is now
}

func (o *orderly) Stdout() io.Writer { return orderlyWriter{o, o.out.Stdout(), fromStdout} }
func (o *orderly) Stderr() io.Writer { return orderlyWriter{o, o.out.Stderr(), fromStderr} }

func (o *orderly) Note(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tell(fromAnt, []byte(line), func() { o.out.Note(line) })
}

type orderlyWriter struct {
	o    *orderly
	to   io.Writer
	kind int
}

func (w orderlyWriter) Write(p []byte) (n int, err error) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	w.o.tell(w.kind, p, func() { n, err = w.to.Write(p) })
	return n, err
}

// tell is called with mu held. The log gets the time that the record has.
func (o *orderly) tell(kind int, p []byte, say func()) {
	at := o.then
	if at.IsZero() {
		at = time.Now()
	}
	o.record.add(kind, at, p)
	clock, ok := o.out.(executor.Replayer)
	if ok {
		clock.At(at)
	}
	say()
	if ok && o.then.IsZero() {
		clock.At(o.then)
	}
}

// at says when what comes next was printed, as executor.Replayer has it.
func (o *orderly) at(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.then = t
	if clock, ok := o.out.(executor.Replayer); ok {
		clock.At(t)
	}
}

// again says whether what comes next was told before, as executor.Replayer has it.
func (o *orderly) again(yes bool) {
	if log, ok := o.out.(executor.Replayer); ok {
		log.Again(yes)
	}
}

// repeat tells what was told in an earlier life of the ant, and returns how much that was.
func (o *orderly) repeat(say func(kind int, p []byte)) (told, error) {
	r := o.record
	o.record = nil // what is repeated is in it
	err := r.replay(func(kind int, at time.Time, p []byte) {
		o.at(at)
		say(kind, p)
	})
	o.at(time.Time{})
	o.record = r
	if r == nil {
		return told{}, nil
	}
	return r.told, err
}
