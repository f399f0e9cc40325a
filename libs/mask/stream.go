package mask

import (
	"bytes"
	"sort"
)

// Stream hides values in a stream of pieces; how it is cut into them makes no difference. It holds back only what may be
// the beginning of a value, but fewer than four bytes of it not beyond the end of their line, so that a line that is
// whole is shown: of a value that is wrapped after so few the rest is hidden.
type Stream struct {
	m     *Masker
	at    int32     // of the automaton, when it is on its way
	text  []byte    // what counts for a match yet, without line ends
	ends  []lineEnd // of it
	spans []span    // values found in it, in order, not overlapping
	// shown are the bytes and line ends of it that are decided.
	shown, shownEnds int
	hiding           bool // the last byte that was decided was hidden
}

// lineEnd is one byte that ends a line, before a place of the text.
type lineEnd struct {
	at int
	c  byte
}

type span struct{ from, to int }

// Append adds to dst what is decided after p, and returns it.
func (s *Stream) Append(dst, p []byte) []byte {
	if s.m == nil {
		return append(dst, p...)
	}
	read := len(s.text)
	s.take(p)
	from := s.search(read)
	dst = s.show(dst, s.wrapped(from))
	s.drop(from)
	return dst
}

// Flush adds what is still held back, and begins anew.
func (s *Stream) Flush(dst []byte) []byte {
	dst = s.show(dst, len(s.text))
	s.drop(len(s.text))
	s.at, s.hiding = 0, false
	return dst
}

// take adds a piece to the text.
func (s *Stream) take(p []byte) {
	returns := bytes.IndexByte(p, '\r') >= 0
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if returns {
			n = bytes.IndexAny(p, "\r\n")
		}
		if n < 0 {
			s.text = append(s.text, p...)
			return
		}
		s.text = append(s.text, p[:n]...)
		s.ends = append(s.ends, lineEnd{len(s.text), p[n]})
		p = p[n+1:]
	}
}

// search finds the values that end behind the first bytes, which have been read, and returns where a form may begin that
// is not whole yet.
func (s *Stream) search(read int) int {
	from := 0
	for {
		if s.at != 0 {
			if from = s.follow(read); s.at != 0 {
				return len(s.text) - int(s.m.nodes[s.at].depth)
			}
		}
		if from, s.at = s.m.scan(s.text, from); s.at == 0 {
			return s.m.tail(s.text, from)
		}
		read = from + minText
		s.cover(read)
	}
}

// scan looks for the first four bytes of a form: it returns where they are and the state after them, or the end.
func (m *Masker) scan(text []byte, from int) (int, int32) {
	ahead, starts := m.least-minText, m.least-minText+1
	for from+m.least <= len(text) {
		if !m.inside.has(four(text[from+ahead:])) {
			from += starts
			continue
		}
		for range starts {
			if at := m.start(text[from:]); at != 0 {
				return from, at
			}
			from++
		}
	}
	for ; from+minText <= len(text); from++ {
		if at := m.start(text[from:]); at != 0 {
			return from, at
		}
	}
	return from, 0
}

// start is the state after the first four bytes of a text, 0 when no form begins with them.
func (m *Masker) start(text []byte) int32 {
	w := four(text)
	if !m.first.has(w) {
		return 0
	}
	return m.starts[w]
}

// tail returns where fewer than four bytes begin that may begin a form.
func (m *Masker) tail(text []byte, from int) int {
	for ; from < len(text); from++ {
		at, i := int32(0), from
		for i < len(text) {
			if at = m.child(at, text[i]); at == 0 {
				break
			}
			i++
		}
		if i == len(text) {
			break
		}
	}
	return from
}

// follow takes the automaton on, until nothing that it has read of four bytes or more begins a form. It returns from
// where on is to be scanned then.
func (s *Stream) follow(read int) int {
	m, at := s.m, s.at
	for ; read < len(s.text); read++ {
		next := m.child(at, s.text[read])
		for next == 0 {
			if at = m.nodes[at].fail; m.nodes[at].depth < minText {
				s.at = 0
				return read + 1 - minText
			}
			next = m.child(at, s.text[read])
		}
		at = next
		s.at = at
		s.cover(read + 1)
	}
	for m.nodes[at].child == 0 { // whole, and no longer form begins with it
		at = m.nodes[at].fail
	}
	if s.at = at; m.nodes[at].depth < minText {
		s.at = 0
		return max(0, read+1-minText)
	}
	return read
}

// cover marks the longest value that ends there.
func (s *Stream) cover(to int) {
	hit := int(s.m.nodes[s.at].hit)
	if hit == 0 {
		return
	}
	from := s.wrapped(to - hit)
	for k := len(s.spans) - 1; k >= 0 && s.spans[k].to > from; k-- {
		from = min(from, s.spans[k].from)
		s.spans = s.spans[:k]
	}
	s.spans = append(s.spans, span{from, to})
}

// wrapped is where a form that begins there is hidden: at once, or where the line ends in its first bytes.
func (s *Stream) wrapped(from int) int {
	k := sort.Search(len(s.ends), func(k int) bool { return s.ends[k].at >= from+minText })
	if k > 0 {
		return max(from, s.ends[k-1].at)
	}
	return from
}

// show decides the text up to a place, and the line ends up to there.
func (s *Stream) show(dst []byte, to int) []byte {
	for ; s.shownEnds < len(s.ends) && s.ends[s.shownEnds].at <= to; s.shownEnds++ {
		end := s.ends[s.shownEnds]
		dst = s.showText(dst, end.at)
		if len(s.spans) == 0 || s.spans[0].from >= end.at || s.spans[0].to <= end.at {
			dst = append(dst, end.c)
			s.hiding = false
		}
	}
	return s.showText(dst, to)
}

func (s *Stream) showText(dst []byte, to int) []byte {
	for s.shown < to {
		for len(s.spans) > 0 && s.spans[0].to <= s.shown {
			s.spans = s.spans[1:]
		}
		next := to
		hide := len(s.spans) > 0 && s.spans[0].from <= s.shown
		switch {
		case hide:
			next = min(to, s.spans[0].to)
			if !s.hiding {
				dst = append(dst, Replacement...)
			}
		case len(s.spans) > 0:
			next = min(to, s.spans[0].from)
			dst = append(dst, s.text[s.shown:next]...)
		default:
			dst = append(dst, s.text[s.shown:next]...)
		}
		s.hiding, s.shown = hide, next
	}
	return dst
}

// drop forgets the text up to a place.
func (s *Stream) drop(n int) {
	k := sort.Search(len(s.ends), func(k int) bool { return s.ends[k].at > n })
	s.text = s.text[:copy(s.text, s.text[n:])]
	s.ends = s.ends[:copy(s.ends, s.ends[k:])]
	s.shown, s.shownEnds = s.shown-n, s.shownEnds-k
	for i := range s.ends {
		s.ends[i].at -= n
	}
	for i := range s.spans {
		s.spans[i].from -= n
		s.spans[i].to -= n
	}
	if len(s.spans) == 0 {
		s.spans = nil
	}
}
