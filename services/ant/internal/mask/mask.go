// Package mask hides secret values in what a task prints. It works on a stream: a value is found wherever the stream
// is cut. It is a seat belt, not a control: a task that wants to print a secret in a form of its own can.
package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// Replacement stands where a value was; values that touch or overlap are hidden as one.
const Replacement = "***"

// minEncoded is the length from which on a value is also hidden in encoded forms: those of shorter ones would hide
// half of any text.
const minEncoded = 6

// Masker finds the values of one attempt. It is safe for concurrent use; a nil Masker hides nothing.
type Masker struct {
	root  [256]int32
	nodes []node
}

// node is a state of the Aho-Corasick automaton: the longest suffix of the text that begins a value.
type node struct {
	next  map[byte]int32
	fail  int32
	depth int32 // length of that suffix
	hit   int32 // length of the longest value that ends here, 0 for none
}

// New returns a masker of the values and their usual encodings; nil when there is nothing to hide.
func New(values []string) *Masker {
	m := &Masker{nodes: []node{{}}}
	for _, v := range values {
		for _, form := range forms(v) {
			m.add(form)
		}
	}
	if len(m.nodes) == 1 {
		return nil
	}
	m.link()
	return m
}

// forms lists how a value may appear.
func forms(v string) []string {
	out := []string{v}
	if len(v) < minEncoded {
		return out
	}
	out = append(out, url.QueryEscape(v), url.PathEscape(v), hex.EncodeToString([]byte(v)), strings.ToUpper(hex.EncodeToString([]byte(v))))
	if quoted, err := json.Marshal(v); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	out = append(out, base64Forms(v)...)
	if strings.ContainsAny(v, "\r\n") {
		for _, line := range strings.FieldsFunc(v, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if len(line) >= minEncoded {
				out = append(out, line)
			}
		}
	}
	return out
}

// base64Forms are the characters that every base64 text holds into which the value was encoded at the start or after
// one or two other bytes.
func base64Forms(v string) []string {
	var out []string
	for shift := range 3 {
		raw := append(make([]byte, shift), v...)
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := enc.EncodeToString(raw)
			from := (shift*8 + 5) / 6 // characters that also hold bits of what stands before
			to := len(raw) * 8 / 6    // characters that hold bits of the value only
			if to-from >= minEncoded {
				out = append(out, text[from:to])
			}
		}
	}
	return out
}

func (m *Masker) add(v string) {
	if v == "" {
		return
	}
	at := int32(0)
	for i := range len(v) {
		next, ok := m.nodes[at].next[v[i]]
		if !ok {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, node{depth: int32(i + 1)})
			if m.nodes[at].next == nil {
				m.nodes[at].next = map[byte]int32{}
			}
			m.nodes[at].next[v[i]] = next
		}
		at = next
	}
	m.nodes[at].hit = int32(len(v))
}

// link sets the failure links breadth first, and with them the longest value that ends in each state.
func (m *Masker) link() {
	var queue []int32
	for c, n := range m.nodes[0].next {
		m.root[c] = n
		queue = append(queue, n)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for c, n := range m.nodes[at].next {
			m.nodes[n].fail = m.step(m.nodes[at].fail, c)
			m.nodes[n].hit = max(m.nodes[n].hit, m.nodes[m.nodes[n].fail].hit)
			queue = append(queue, n)
		}
	}
}

func (m *Masker) step(at int32, c byte) int32 {
	for at != 0 {
		if n, ok := m.nodes[at].next[c]; ok {
			return n
		}
		at = m.nodes[at].fail
	}
	return m.root[c]
}

// String hides the values in s.
func (m *Masker) String(s string) string {
	if m == nil || s == "" {
		return s
	}
	st := m.Stream()
	out := st.Append(nil, []byte(s))
	return string(st.Flush(out))
}

// Stream returns the state of one stream.
func (m *Masker) Stream() *Stream { return &Stream{m: m} }

// Stream hides values in a stream of pieces. It holds back only what may be the beginning of a value.
type Stream struct {
	m      *Masker
	at     int32
	held   []byte // not decided yet
	spans  []span // values found in held, by their place in it
	hiding bool   // the last byte that was decided was hidden
}

type span struct{ from, to int }

// Append adds to dst what is decided after p, and returns it.
func (s *Stream) Append(dst, p []byte) []byte {
	if s.m == nil {
		return append(dst, p...)
	}
	for i := 0; i < len(p); i++ {
		if s.at == 0 && len(s.held) == 0 {
			// Fast path: run over bytes that begin no value.
			j := i
			for j < len(p) && s.m.root[p[j]] == 0 {
				j++
			}
			if j > i {
				dst = append(dst, p[i:j]...)
				s.hiding = false
				i = j
				if i == len(p) {
					break
				}
			}
		}
		s.held = append(s.held, p[i])
		s.at = s.m.step(s.at, p[i])
		n := &s.m.nodes[s.at]
		if n.hit > 0 {
			s.cover(len(s.held)-int(n.hit), len(s.held))
		}
		dst = s.release(dst, len(s.held)-int(n.depth))
	}
	return dst
}

// Flush adds what is still held back.
func (s *Stream) Flush(dst []byte) []byte {
	dst = s.release(dst, len(s.held))
	s.at, s.hiding = 0, false
	return dst
}

// cover joins [from,to) with the spans that it touches; spans are in order and every new one ends last.
func (s *Stream) cover(from, to int) {
	for len(s.spans) > 0 && s.spans[len(s.spans)-1].to >= from {
		from = min(from, s.spans[len(s.spans)-1].from)
		s.spans = s.spans[:len(s.spans)-1]
	}
	s.spans = append(s.spans, span{max(from, 0), to})
}

// release decides the first n held bytes.
func (s *Stream) release(dst []byte, n int) []byte {
	if n <= 0 {
		return dst
	}
	at := 0
	for at < n {
		if len(s.spans) == 0 || s.spans[0].from >= n {
			dst = append(dst, s.held[at:n]...)
			s.hiding = false
			break
		}
		sp := s.spans[0]
		if sp.from > at {
			dst = append(dst, s.held[at:sp.from]...)
			s.hiding = false
		}
		if !s.hiding {
			dst = append(dst, Replacement...)
			s.hiding = true
		}
		at = min(sp.to, n)
		if sp.to <= n {
			s.spans = s.spans[1:]
		} else {
			s.spans[0].from = n
		}
	}
	s.held = s.held[:copy(s.held, s.held[n:])]
	for i := range s.spans {
		s.spans[i].from -= n
		s.spans[i].to -= n
	}
	if len(s.spans) == 0 {
		s.spans = nil
	}
	return dst
}
