package docker

import (
	"io"
	"sync"
	"time"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// orderly is an output of several containers, one after the other.
type orderly struct {
	mu  sync.Mutex
	out executor.Output
}

func (o *orderly) Stdout() io.Writer { return orderlyWriter{o, o.out.Stdout()} }
func (o *orderly) Stderr() io.Writer { return orderlyWriter{o, o.out.Stderr()} }

func (o *orderly) Note(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.Note(line)
}

type orderlyWriter struct {
	o  *orderly
	to io.Writer
}

func (w orderlyWriter) Write(p []byte) (int, error) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	return w.to.Write(p)
}

// at says when what comes next was printed, as executor.Replayer has it.
func (o *orderly) at(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if clock, ok := o.out.(executor.Replayer); ok {
		clock.At(t)
	}
}
