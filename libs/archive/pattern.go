package archive

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Patterns say which files to keep: names and globs below a directory, with `**` for any number of directories. A directory
// that one names is kept with all that is in it.
type Patterns struct {
	list []string
	hit  []bool
}

// Compile reads patterns.
func Compile(patterns []string) (*Patterns, error) {
	p := &Patterns{hit: make([]bool, len(patterns))}
	for _, s := range patterns {
		clean := path.Clean(s)
		switch {
		case s == "":
			return nil, fmt.Errorf("a path is empty")
		case path.IsAbs(s) || clean == ".." || strings.HasPrefix(clean, "../"):
			return nil, fmt.Errorf("the path %.200q is not below the working directory; name it relative to that", s)
		case !doublestar.ValidatePattern(clean):
			return nil, fmt.Errorf("the path %.200q is no pattern; * ? [a-z] {a,b} and ** have a meaning, after a backslash none", s)
		}
		p.list = append(p.list, clean)
	}
	return p, nil
}

// Match says whether a file, directory or link is named, itself or by a directory above it.
func (p *Patterns) Match(name string) bool {
	found := false
	for i, pattern := range p.list {
		if pattern == "." || above(pattern, name) {
			p.hit[i], found = true, true
		}
	}
	return found
}

func above(pattern, name string) bool {
	for {
		if ok, _ := doublestar.Match(pattern, name); ok {
			return true
		}
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			return false
		}
		name = name[:cut]
	}
}

// Again are the same patterns, which have named nothing yet.
func (p *Patterns) Again() *Patterns { return &Patterns{list: p.list, hit: make([]bool, len(p.list))} }

// Unmatched are the patterns that have named nothing yet.
func (p *Patterns) Unmatched() (list []string) {
	for i, hit := range p.hit {
		if !hit {
			list = append(list, p.list[i])
		}
	}
	return list
}

// Escaped is a pattern that matches a name alone.
func Escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if strings.IndexByte(`*?[]{}\`, name[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// plainName returns the name that a pattern without a wildcard matches.
func plainName(pattern string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '*', '?', '[', '{':
			return "", false
		case '\\':
			i++
		}
		if i < len(pattern) {
			b.WriteByte(pattern[i])
		}
	}
	return b.String(), true
}

// Roots are the files and directories in which everything is that the patterns can name; none is in another one.
func (p *Patterns) Roots() (roots []string) {
	for _, pattern := range p.list {
		if name, ok := plainName(pattern); ok {
			roots = append(roots, name)
			continue
		}
		base, _ := doublestar.SplitPattern(pattern)
		roots = append(roots, strings.ReplaceAll(path.Clean(base), `\`, ""))
	}
	slices.Sort(roots)
	var top []string
	for _, r := range roots {
		if !slices.ContainsFunc(top, func(t string) bool { return t == "." || r == t || strings.HasPrefix(r, t+"/") }) {
			top = append(top, r)
		}
	}
	if slices.Contains(top, ".") {
		return []string{"."}
	}
	return top
}
