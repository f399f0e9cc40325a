// Package mask hides secret values in text that a task makes: a value is found wherever the stream is cut, in the usual
// encodings, and wherever it is wrapped into lines. It is a seat belt, not a control: a task that wants to print a secret
// in a form of its own can.
//
// Line ends do not count for a match. A Stream looks whether four bytes stand at the beginning of any form; a table of
// bits says no nearly always, and then none begins at these or some bytes before them. Where one begins, an Aho-Corasick
// automaton goes on, so that no text makes the work more than linear. What is held back is never more than what may be
// the beginning of a form.
package mask

import (
	"io"
	"math/bits"
)

// Replacement stands where a value was; values that touch or overlap are hidden as one.
const Replacement = "***"

// maxLeast bounds how many bytes are looked at together: more of them make more beginnings than a table should hold.
const maxLeast = 12

// Masker finds the values of one attempt. It is safe for concurrent use; a nil Masker hides nothing.
type Masker struct {
	nodes  []node
	starts map[uint32]int32 // states after the first four bytes of a form
	least  int              // every form has so many bytes
	first  set              // the first four bytes of the forms
	inside set              // all four that are within the first least bytes of a form
}

// node is a state of the automaton: the longest suffix of the text that begins a form.
type node struct {
	child, sibling int32
	fail           int32
	depth          int32 // length of that suffix
	hit            int32 // length of the longest form that ends here, 0 for none
	c              byte  // the last byte of the suffix
}

// New returns a masker of the values and their usual encodings (see Forms); nil when there is nothing to hide.
func New(values []string) *Masker {
	m := &Masker{nodes: []node{{}}, starts: map[uint32]int32{}, least: maxLeast}
	var all []string
	seen := map[string]bool{}
	for _, v := range values {
		if seen[v] {
			continue
		}
		seen[v] = true
		for _, form := range Forms(v) {
			all = append(all, form)
			m.least = min(m.least, len(form))
			m.add(form)
		}
	}
	if len(all) == 0 {
		return nil
	}
	m.link()
	m.first, m.inside = newSet(len(m.starts)), newSet(len(m.starts)*(m.least-minText+1))
	for _, form := range all {
		m.first.add(four(form))
		for i := range m.least - minText + 1 {
			m.inside.add(four(form[i:]))
		}
	}
	return m
}

func (m *Masker) add(form string) {
	at := int32(0)
	for i := range len(form) {
		next := m.child(at, form[i])
		if next == 0 {
			next = int32(len(m.nodes)) // #nosec G115 -- values are some KiB
			m.nodes = append(m.nodes, node{depth: int32(i + 1), c: form[i], sibling: m.nodes[at].child})
			m.nodes[at].child = next
		}
		at = next
		if i == minText-1 {
			m.starts[four(form)] = at
		}
	}
	m.nodes[at].hit = int32(len(form)) // #nosec G115
}

func (m *Masker) child(at int32, c byte) int32 {
	for n := m.nodes[at].child; n != 0; n = m.nodes[n].sibling {
		if m.nodes[n].c == c {
			return n
		}
	}
	return 0
}

// step is the state after c.
func (m *Masker) step(at int32, c byte) int32 {
	for {
		if n := m.child(at, c); n != 0 || at == 0 {
			return n
		}
		at = m.nodes[at].fail
	}
}

// link sets the failure links breadth first, and with them the longest form that ends in each state.
func (m *Masker) link() {
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for n := m.nodes[at].child; n != 0; n = m.nodes[n].sibling {
			if at != 0 {
				m.nodes[n].fail = m.step(m.nodes[at].fail, m.nodes[n].c)
				m.nodes[n].hit = max(m.nodes[n].hit, m.nodes[m.nodes[n].fail].hit)
			}
			queue = append(queue, n)
		}
	}
}

// four are the first bytes of a text as a number.
func four[T string | []byte](text T) uint32 {
	return uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24
}

// set of numbers that may also hold some that were not added.
type set struct {
	bits  []uint64
	shift uint8
}

// newSet returns one in which few bits are set; it fits into the first cache of a processor.
func newSet(n int) set {
	size := min(max(12, bits.Len(uint(n))+4), 18)                         // #nosec G115 -- a length
	return set{bits: make([]uint64, 1<<size/64), shift: uint8(32 - size)} // #nosec G115 -- between
}

func (s *set) hash(w uint32) uint32 { return w * 0x9E3779B1 >> (s.shift & 31) }

func (s *set) add(w uint32) { s.bits[s.hash(w)/64] |= 1 << (s.hash(w) % 64) }

func (s *set) has(w uint32) bool { return s.bits[s.hash(w)/64]&(1<<(s.hash(w)%64)) != 0 }

// String hides the values in s.
func (m *Masker) String(s string) string {
	if m == nil || s == "" {
		return s
	}
	st := m.Stream()
	out := st.Append(make([]byte, 0, len(s)), []byte(s))
	return string(st.Flush(out))
}

// Holds reports whether s holds a value.
func (m *Masker) Holds(s string) bool { return m.String(s) != s }

// Reader hides the values in what r has.
func (m *Masker) Reader(r io.Reader) io.Reader {
	if m == nil {
		return r
	}
	return &reader{from: r, stream: m.Stream(), in: make([]byte, 32<<10)}
}

type reader struct {
	from   io.Reader
	stream *Stream
	in     []byte
	buf    []byte
	out    []byte // of buf, what was not read yet
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 && r.err == nil {
		var n int
		n, r.err = r.from.Read(r.in)
		r.buf = r.stream.Append(r.buf[:0], r.in[:n])
		if r.err != nil {
			r.buf = r.stream.Flush(r.buf)
		}
		r.out = r.buf
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	if len(r.out) > 0 {
		return n, nil
	}
	return n, r.err
}

// Stream returns the state of one stream.
func (m *Masker) Stream() *Stream { return &Stream{m: m} }
