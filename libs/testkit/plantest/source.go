package plantest

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// statement is a string of the source that begins like SQL.
type statement struct {
	at, sql string
	// part: it is a named constant that longer ones contain.
	part bool
	// open: the source adds something to it that is known at run time only.
	open bool
}

// begins is how a statement begins, after comments like those of sqlc.
var begins = regexp.MustCompile(`^(?i:\s*(--[^\n]*\n\s*)*)\(*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s`)

// find returns the statements in the Go files of the folders, tests aside.
func find(folders, skip []string) ([]statement, error) {
	var all []statement
	for _, folder := range folders {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("no source in %s", folder)
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") || slices.Contains(skip, filepath.Base(name)) {
				continue
			}
			src, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
		all = append(all, inPackage(fset, files)...)
	}
	return all, nil
}

// stranger stands for every imported package: only the constants of this one matter.
type stranger struct{}

func (stranger) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

func inPackage(fset *token.FileSet, files []*ast.File) []statement {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: stranger{}, Error: func(error) {}} // what it cannot know of other packages is no matter
	_, _ = conf.Check("p", fset, files, info)
	w := &walk{fset: fset, info: info, parts: map[types.Object]bool{}, named: map[ast.Expr]types.Object{}}
	for _, f := range files {
		ast.Inspect(f, w.declared)
	}
	for _, f := range files {
		ast.Inspect(f, w.visit)
	}
	for i := range w.found {
		w.found[i].part = w.parts[w.objects[i]]
	}
	return w.found
}

// walk goes through the files of a package.
type walk struct {
	fset    *token.FileSet
	info    *types.Info
	named   map[ast.Expr]types.Object // the value of a declared constant
	parts   map[types.Object]bool
	found   []statement
	objects []types.Object // of found
}

func (w *walk) declared(n ast.Node) bool {
	if v, ok := n.(*ast.ValueSpec); ok {
		for i, name := range v.Names {
			if i < len(v.Values) {
				w.named[v.Values[i]] = w.info.Defs[name]
			}
		}
	}
	return true
}

// visit takes the longest constant expressions and does not look into them, except for the constants they use.
func (w *walk) visit(n ast.Node) bool {
	switch e := n.(type) {
	case *ast.CallExpr:
		if builds(e) {
			for _, arg := range e.Args {
				if s := w.text(arg); begins.MatchString(s) {
					w.add(arg, s, true)
					w.use(arg)
				} else {
					ast.Inspect(arg, w.visit)
				}
			}
			return false
		}
		return !message(e)
	case *ast.BinaryExpr:
		if w.text(e) == "" {
			if s := w.text(e.X); begins.MatchString(s) {
				w.add(e.X, s, true)
				w.use(e.X)
				ast.Inspect(e.Y, w.visit)
				return false
			}
			w.use(e)
			return true
		}
		w.use(e)
		w.add(e, w.text(e), false)
		return false
	case *ast.BasicLit:
		w.add(e, w.text(e), false)
	}
	return true
}

// text is the value of a constant string.
func (w *walk) text(e ast.Expr) string {
	if v := w.info.Types[e].Value; v != nil && v.Kind() == constant.String {
		return constant.StringVal(v)
	}
	return ""
}

func (w *walk) add(e ast.Expr, sql string, open bool) {
	if begins.MatchString(sql) {
		w.found = append(w.found, statement{at: w.fset.Position(e.Pos()).String(), sql: sql, open: open})
		w.objects = append(w.objects, w.named[e])
	}
}

// use notes which constants stand in an expression.
func (w *walk) use(e ast.Expr) {
	ast.Inspect(e, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			w.parts[w.info.Uses[id]] = true
		}
		return true
	})
}

// builds says whether a call makes a longer text of its arguments.
func builds(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"WriteString", "Sprintf", "Fprintf"}, f.Sel.Name)
}

// message says whether a call makes text for people.
func message(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := f.X.(*ast.Ident)
	return ok && slices.Contains([]string{"errs", "errors"}, x.Name) || ok && x.Name == "fmt" && f.Sel.Name == "Errorf"
}
