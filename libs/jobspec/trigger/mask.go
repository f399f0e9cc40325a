package trigger

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// The templates of triggers are over events: they are not rendered with the job but kept as written. Before a text is
// compiled their braces are replaced by characters that no text holds, one for one, so that places stay what they are.
const triggersKey = "triggers:"

// Mask hides the templates below a key triggers at the beginning of a line. A template that begins a line
// itself is one of the job: it makes triggers. A template ends where its braces do: further ones belong to mappings.
func Mask(text []byte) []byte {
	if !bytes.Contains(text, []byte(triggersKey)) || !bytes.Contains(text, []byte("{{")) {
		return text
	}
	out := make([]byte, 0, len(text))
	inside, open := false, false
	for line := range bytes.Lines(text) {
		if !strings.ContainsRune(" \t-#\r\n", rune(line[0])) {
			inside, open = bytes.HasPrefix(line, []byte(triggersKey)), false
		}
		if inside {
			out, open = maskLine(out, line, open)
		} else {
			out = append(out, line...)
		}
	}
	return out
}

// maskLine appends a line with the braces of its templates hidden; open says that one goes on from the line before, or in
// the next one.
func maskLine(out, line []byte, open bool) ([]byte, bool) {
	for {
		braces, hidden := "{{", source.MaskOpen
		if open {
			braces, hidden = "}}", source.MaskClose
		}
		before, after, found := bytes.Cut(line, []byte(braces))
		out = append(out, before...)
		if !found {
			return out, open
		}
		out, line, open = utf8.AppendRune(utf8.AppendRune(out, hidden), hidden), after, !open
	}
}

// unmask shows the braces again.
func unmask(text string) string {
	if !strings.ContainsRune(text, source.MaskOpen) && !strings.ContainsRune(text, source.MaskClose) {
		return text
	}
	return strings.NewReplacer(string(source.MaskOpen), "{", string(source.MaskClose), "}").Replace(text)
}

// unmasked copies a node with the braces of its texts. Nodes that aliases share are copied each time: what they expand
// to is bounded.
func unmasked(n *source.Node) *source.Node {
	out := *n
	out.Text = unmask(n.Text)
	out.Items = make([]*source.Node, len(n.Items))
	for i, item := range n.Items {
		out.Items[i] = unmasked(item)
	}
	out.Pairs = make([]source.Pair, len(n.Pairs))
	for i, p := range n.Pairs {
		out.Pairs[i] = source.Pair{Key: unmask(p.Key), Line: p.Line, Column: p.Column, Value: unmasked(p.Value)}
	}
	return &out
}
