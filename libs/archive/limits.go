package archive

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Limits bound what an archive may hold. The zero value of a field is the default.
type Limits struct {
	// Entries is the largest number of files, directories and links; default 1,000,000.
	Entries int
	// Bytes is the largest tar stream; default 64 GiB.
	Bytes int64
	// Ratio is how many times longer than what it is made of a stream of more than RatioFrom may be; default 1,000 and 4 GiB,
	// because 2 GiB of zeros are nothing bad.
	Ratio, RatioFrom int64
}

const (
	defaultEntries   = 1_000_000
	defaultBytes     = 64 << 30
	defaultRatio     = 1000
	defaultRatioFrom = 4 << 30
	// mostNames is how long all names and targets of an archive may be together: whoever reads it remembers them.
	mostNames = 128 << 20
)

// ErrLimit says that an archive is larger than the limits.
var ErrLimit = errors.New("the archive is too large")

// ErrUnsafe says that an archive holds what is not let through.
var ErrUnsafe = errors.New("the archive is refused")

// ErrDamaged says that an archive cannot be read.
var ErrDamaged = errors.New("the archive is damaged")

func (l Limits) filled() Limits {
	if l.Entries <= 0 {
		l.Entries = defaultEntries
	}
	if l.Bytes <= 0 {
		l.Bytes = defaultBytes
	}
	if l.Ratio <= 0 {
		l.Ratio = defaultRatio
	}
	if l.RatioFrom <= 0 {
		l.RatioFrom = defaultRatioFrom
	}
	return l
}

// raw checks the length of a stream that was made of packed bytes.
func (l Limits) raw(raw, packed int64) error {
	switch {
	case raw > l.Bytes:
		return fmt.Errorf("%w: more than %d bytes of files", ErrLimit, l.Bytes)
	case raw > l.RatioFrom && raw/max(packed, 1) > l.Ratio:
		return fmt.Errorf("%w: its files are more than %d times as long as it is", ErrLimit, l.Ratio)
	}
	return nil
}

func (l Limits) entries(n int) error {
	if n > l.Entries {
		return fmt.Errorf("%w: more than %d files", ErrLimit, l.Entries)
	}
	return nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n atomic.Int64 // a decoder reads ahead
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// bounded reads a stream that was made of what packed counts, within the limits.
type bounded struct {
	r      io.Reader
	packed *counter
	limits Limits
	n      int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if over := b.limits.raw(b.n, b.packed.n.Load()); over != nil {
		return 0, over
	}
	return n, err
}
