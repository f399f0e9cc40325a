package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Kind of a node.
type Kind uint8

// The kinds of nodes.
const (
	Null Kind = iota
	Scalar
	List
	Map
)

func (k Kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// Node is one node of the rendered text. Nodes that an alias names are shared, and all of them are read only.
type Node struct {
	Kind Kind
	// Quoted says that a scalar is text whatever it looks like; templated, that its text holds tokens.
	Quoted, Templated bool
	// Keyed says that a key in or below the mapping holds a token; see freeKeys.
	Keyed        bool
	Line, Column int // in the rendered text
	Text         string
	Items        []*Node // of a list
	Pairs        []Pair  // of a mapping, in the order of the text
	expanded     int     // nodes below and including this one, aliases followed
}

// Pair is a key of a mapping with its value.
type Pair struct {
	Key          string
	Line, Column int // of the key
	Value        *Node
}

// Get returns the value of a key, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Pairs {
		if n.Pairs[i].Key == key {
			return n.Pairs[i].Value
		}
	}
	return nil
}

// EachScalar calls back for each single value in and below a node, or none.
func (n *Node) EachScalar(each func(n *Node)) {
	switch {
	case n == nil:
	case n.Kind == Scalar:
		each(n)
	default:
		for _, item := range n.Items {
			item.EachScalar(each)
		}
		for i := range n.Pairs {
			n.Pairs[i].Value.EachScalar(each)
		}
	}
}

// yamlReader turns rendered text into nodes. at translates positions of the rendered text for problems.
type yamlReader struct {
	c      *Collector
	at     func(line, column int) (int, int)
	done   map[*yaml.Node]*Node // anchored nodes; nil while they are being read
	full   bool                 // a bound was passed: stop
	copied int                  // keys copied by merges
	free   int                  // fields of freeKeys around the node
	nulls  bool                 // a value is null
}

// freeKeys are the fields whose mappings have keys of the user's own choice: a template may write those. Everywhere else
// a key decides what its value means.
func freeKeys(field string) bool {
	switch field {
	case "environment", "helper_environment", "variables", "task_variables", "job_variables", "configs", "input_params",
		"headers", "query", "node_selector", "pod_labels", "pod_annotations":
		return true
	}
	return false
}

func (r *yamlReader) problem(line, column int, code, message, expected string) {
	line, column = r.at(line, column)
	r.c.Add(Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected})
}

// ReadYAML parses the text; nulls says that it holds some. It returns nil when there are faults that keep it from being
// read at all.
func ReadYAML(text []byte, c *Collector, at func(line, column int) (int, int)) (root *Node, nulls bool) {
	r := &yamlReader{c: c, at: at, done: map[*yaml.Node]*Node{}}
	if tooManyNodes(text) {
		c.Add(Problem{
			Code: CodeNodes, Message: "the definition holds too many values",
			Expected: fmt.Sprintf("at most %d", maxNodes),
		})
		return nil, false
	}
	doc, more, err := decodeYAML(text)
	if err != nil {
		r.syntax(text, err)
		return nil, false
	}
	if doc == nil || len(doc.Content) == 0 {
		r.problem(1, 1, CodeMissingField, "the definition is empty", "a mapping with job_type and tasks")
		return nil, false
	}
	if more != nil {
		r.problem(more.Line, more.Column, CodeSyntax, "a second document begins here", "one document")
		return nil, false
	}
	root = r.convert(doc.Content[0], 1)
	if r.full {
		return nil, false
	}
	return root, r.nulls
}

// decodeYAML reads the first document, and the beginning of a second one if there is any. The library reports what it
// did not expect by panicking in places; here text comes from strangers.
func decodeYAML(text []byte) (doc, more *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			doc, more, err = nil, nil, fmt.Errorf("yaml: cannot be read: %v", p)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	doc = &yaml.Node{}
	switch err := decoder.Decode(doc); {
	case errors.Is(err, io.EOF):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err //nolint:wrapcheck // its text is taken apart by syntax
	}
	second := &yaml.Node{}
	switch err := decoder.Decode(second); {
	case errors.Is(err, io.EOF):
		return doc, nil, nil
	case err != nil:
		return nil, nil, err //nolint:wrapcheck // its text is taken apart by syntax
	}
	return doc, second, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// maxSearched is the size up to which the line of an error is searched for.
const maxSearched = 32 << 10

// syntax reports an error of the library. The line that it gives is often the one where the surrounding block begins,
// so the line is searched for: the first one with which the text fails in this way.
func (r *yamlReader) syntax(text []byte, err error) {
	line, message := yamlFault(err)
	if len(text) <= maxSearched {
		l := NewYAMLLines(text)
		line = 1 + sort.Search(len(l.starts)-1, func(i int) bool {
			_, _, err := decodeYAML(text[:l.starts[i+1]])
			if err == nil {
				return false
			}
			_, m := yamlFault(err)
			return m == message
		})
	}
	column := 1
	if l := NewYAMLLines(text); line <= len(l.starts) {
		for _, b := range text[l.starts[line-1]:] {
			if b != ' ' {
				break
			}
			column++
		}
	}
	if strings.ContainsRune(message, TokenOpen) {
		message = "a template stands where YAML expects a name"
	}
	r.problem(line, column, CodeSyntax, "the text is no YAML: "+message, "")
}

// yamlFault takes an error of the library apart. It counts the lines of some errors from 0.
func yamlFault(err error) (line int, message string) {
	line, message = 1, err.Error()
	if m := yamlError.FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		message = m[2]
		if strings.HasPrefix(message, "did not find") && m[1] != "" {
			line++
		}
	}
	return line, message
}

// convert copies a node of the library, checks the bounds and counts what aliases expand to.
func (r *yamlReader) convert(y *yaml.Node, depth int) *Node {
	if r.full {
		return &Node{}
	}
	if depth > MaxDepth {
		r.full = true
		r.problem(y.Line, y.Column, CodeDepth, "the definition is nested too deeply", fmt.Sprintf("at most %d levels", MaxDepth))
		return &Node{}
	}
	if y.Kind == yaml.AliasNode {
		return r.alias(y)
	}
	n := &Node{Line: y.Line, Column: y.Column, expanded: 1}
	if y.Anchor != "" {
		r.done[y] = nil
	}
	r.checkTag(y)
	switch y.Kind {
	case yaml.SequenceNode:
		r.list(n, y, depth)
	case yaml.MappingNode:
		r.mapping(n, y, depth)
	default:
		r.scalar(n, y)
	}
	if y.Anchor != "" {
		r.done[y] = n
	}
	return n
}

func (r *yamlReader) alias(y *yaml.Node) *Node {
	n, ok := r.done[y.Alias]
	if !ok || n == nil {
		r.full = true
		r.problem(y.Line, y.Column, CodeAliases, "the alias stands inside of what it names", "an anchor that is complete")
		return &Node{}
	}
	if n.Keyed && r.free == 0 {
		r.problem(y.Line, y.Column, CodeTemplateKey, "the alias names a mapping with templates as keys", "a mapping with keys written out")
		return &Node{Kind: Map}
	}
	return n
}

// checkTag refuses tags beyond those of JSON's types.
func (r *yamlReader) checkTag(y *yaml.Node) {
	if y.Style&yaml.TaggedStyle == 0 {
		return
	}
	switch y.Tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "":
	default:
		r.problem(y.Line, y.Column, CodeInvalidType, "the YAML tag is not known here", "no tag")
	}
}

func (r *yamlReader) scalar(n *Node, y *yaml.Node) {
	n.Kind, n.Text = Scalar, y.Value
	r.checkNUL(y)
	n.Quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 ||
		y.Style&yaml.TaggedStyle != 0 && y.Tag == "!!str"
	n.Templated = strings.Contains(y.Value, TokenPrefix)
	if !n.Quoted && !n.Templated {
		switch y.Value {
		case "", "~", "null", "Null", "NULL":
			n.Kind, r.nulls = Null, true
		}
	}
}

// checkNUL refuses what an escape can say and neither a database nor a process can take: "\0" and its like.
func (r *yamlReader) checkNUL(y *yaml.Node) {
	if strings.IndexByte(y.Value, 0) >= 0 {
		r.problem(y.Line, y.Column, CodeEncoding, "the text holds the character NUL", "text without it")
	}
}

func (r *yamlReader) list(n *Node, y *yaml.Node, depth int) {
	n.Kind = List
	n.Items = make([]*Node, 0, len(y.Content))
	for _, child := range y.Content {
		item := r.convert(child, depth+1)
		n.Items = append(n.Items, item)
		n.Keyed = n.Keyed || item.Keyed
		n.expanded += item.expanded
		if r.tooMany(n.expanded, child) {
			return
		}
	}
}

// tooMany stops the reading when aliases have multiplied what is in the text.
func (r *yamlReader) tooMany(count int, y *yaml.Node) bool {
	if count > maxNodes && !r.full {
		r.full = true
		r.problem(y.Line, y.Column, CodeAliases, "the aliases expand to too many values", fmt.Sprintf("at most %d", maxNodes))
	}
	return r.full
}

func (r *yamlReader) mapping(n *Node, y *yaml.Node, depth int) {
	n.Kind = Map
	n.Pairs = make([]Pair, 0, len(y.Content)/2)
	seen := newKeySet(len(y.Content) / 2)
	var merges []*Node
	for i := 0; i+1 < len(y.Content) && !r.full; i += 2 {
		key := y.Content[i]
		r.checkNUL(key)
		free := freeKeys(key.Value)
		if free {
			r.free++
		}
		value := r.convert(y.Content[i+1], depth+1)
		if free {
			r.free--
		}
		n.expanded += 1 + value.expanded
		if r.tooMany(n.expanded, key) {
			return
		}
		switch {
		case key.Kind == yaml.ScalarNode && key.Tag == "!!merge":
			merges = append(merges, r.merge(key, value)...)
			continue
		case key.Kind != yaml.ScalarNode:
			r.problem(key.Line, key.Column, CodeInvalidType, "the key is no plain text", "a name")
			continue
		case strings.Contains(key.Value, TokenPrefix) && r.free > 0:
			n.Keyed = true
		case strings.Contains(key.Value, TokenPrefix):
			r.problem(key.Line, key.Column, CodeTemplateKey, "a template cannot name a field", "a key written out")
			continue
		}
		if first, dup := seen.add(key.Value, key.Line, key.Column); dup {
			line, _ := r.at(first.line, first.column)
			r.problem(key.Line, key.Column, CodeDuplicateKey, fmt.Sprintf("the key %s stands in line %d already", QuoteName(key.Value), line), "each key once")
			continue
		}
		n.Keyed = n.Keyed || value.Keyed && r.free > 0
		n.Pairs = append(n.Pairs, Pair{Key: key.Value, Line: key.Line, Column: key.Column, Value: value})
	}
	for _, m := range merges {
		r.copied += len(m.Pairs)
		if r.tooMany(r.copied, y) {
			return
		}
		n.Keyed = n.Keyed || m.Keyed
		for _, p := range m.Pairs {
			if _, dup := seen.add(p.Key, p.Line, p.Column); !dup {
				n.Pairs = append(n.Pairs, p)
			}
		}
	}
}

// merge returns the mappings that a << key names.
func (r *yamlReader) merge(key *yaml.Node, value *Node) []*Node {
	list := []*Node{value}
	if value.Kind == List {
		list = value.Items
	}
	for _, m := range list {
		if m.Kind != Map {
			r.problem(key.Line, key.Column, CodeInvalidType, "<< does not name a mapping", "an alias of a mapping, or a list of them")
			return nil
		}
	}
	return list
}

// keySet finds duplicate keys; small mappings, which nearly all are, need no map.
type keySet struct {
	small []keyAt
	large map[string]keyAt
}

type keyAt struct {
	key          string
	line, column int
}

func newKeySet(n int) *keySet {
	if n > 16 {
		return &keySet{large: make(map[string]keyAt, n)}
	}
	return &keySet{small: make([]keyAt, 0, n)}
}

func (s *keySet) add(key string, line, column int) (first keyAt, dup bool) {
	if s.large == nil && len(s.small) >= 16 { // merged keys
		s.large = make(map[string]keyAt, 64)
		for _, k := range s.small {
			s.large[k.key] = k
		}
	}
	if s.large != nil {
		if first, dup = s.large[key]; !dup {
			s.large[key] = keyAt{key, line, column}
		}
		return first, dup
	}
	for _, k := range s.small {
		if k.key == key {
			return k, true
		}
	}
	s.small = append(s.small, keyAt{key, line, column})
	return keyAt{}, false
}

// QuoteName quotes a name of the text for a message, shortened.
func QuoteName(s string) string {
	const longest = 60
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return strconv.Quote(s)
}
