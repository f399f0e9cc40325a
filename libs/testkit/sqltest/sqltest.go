// Package sqltest finds SQL that is put together when it is used. What callers send belongs into arguments, never into the text: a
// text that grows by anything but constants has to stand on a list, with the reason why no value comes into it.
package sqltest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statement is what texts look like that are SQL, or a part of it.
var statement = regexp.MustCompile(`\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|FROM|JOIN|ORDER BY|GROUP BY|LIMIT|UNION|VALUES|RETURNING|ALTER|CREATE|DROP|GRANT|SET LOCAL)\b|\$%d| = \?| AND `)

// Check reads the sources below dir, without tests, what is made for them and generated code. allowed are the functions that put SQL together, as "package
// folder.Function" below dir, with the reason why that is safe.
func Check(t *testing.T, dir string, allowed map[string]string) {
	t.Helper()
	seen := map[string]bool{}
	packages := map[string][]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "testkit"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err == nil && !ast.IsGenerated(f) {
			packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, files := range packages {
		constants := constantsOf(files)
		name, err := filepath.Rel(dir, folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			for _, decl := range f.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				who := filepath.ToSlash(name) + "." + f.Name.Name
				for _, at := range built(decl, constants) {
					seen[who] = true
					if allowed[who] == "" {
						t.Errorf("%s: %s puts SQL together: give values as arguments, or list it with the reason why none comes into the text", set.Position(at), who)
					}
				}
			}
		}
	}
	for who := range allowed {
		if !seen[who] {
			t.Errorf("%s is on the list and puts no SQL together (any more)", who)
		}
	}
}

// constantsOf are the names of constants, also of those inside of functions, and of the variables of packages, which nobody changes.
func constantsOf(files []*ast.File) map[string]bool {
	names := map[string]bool{}
	add := func(d *ast.GenDecl) {
		for _, s := range d.Specs {
			if v, ok := s.(*ast.ValueSpec); ok {
				for _, name := range v.Names {
					names[name.Name] = true
				}
			}
		}
	}
	for _, f := range files {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
				add(d)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
				add(d)
			}
			return true
		})
	}
	return names
}

// built returns where SQL meets something that is no constant.
func built(root ast.Node, constants map[string]bool) (at []token.Pos) {
	inner := map[ast.Node]bool{}
	ast.Inspect(root, func(n ast.Node) bool {
		switch e := n.(type) {
		case *ast.BinaryExpr:
			if e.Op != token.ADD || inner[e] {
				return true
			}
			var sql, other bool
			var walk func(ast.Expr)
			walk = func(x ast.Expr) {
				switch x := x.(type) {
				case *ast.BinaryExpr:
					inner[x] = true
					walk(x.X)
					walk(x.Y)
				case *ast.ParenExpr:
					walk(x.X)
				case *ast.BasicLit:
					sql = sql || isSQL(x)
				case *ast.Ident:
					other = other || !constants[x.Name]
				case *ast.SelectorExpr: // a constant of another package, as far as is seen here
					other = other || !strings.HasSuffix(x.Sel.Name, "SQL")
				default:
					other = true
				}
			}
			walk(e)
			if sql && other {
				at = append(at, e.Pos())
			}
		case *ast.AssignStmt:
			if e.Tok == token.ADD_ASSIGN && len(e.Rhs) == 1 {
				if text, ok := e.Rhs[0].(*ast.BasicLit); ok && isSQL(text) {
					at = append(at, e.Pos())
				}
			}
		case *ast.CallExpr:
			if f, ok := e.Fun.(*ast.SelectorExpr); ok && len(e.Args) > 1 && strings.HasPrefix(f.Sel.Name, "Sprint") || isCall(e, "strings", "ReplaceAll") {
				for _, a := range e.Args {
					if text, ok := a.(*ast.BasicLit); ok && isSQL(text) {
						at = append(at, e.Pos())
						break
					}
				}
			}
		}
		return true
	})
	return at
}

func isCall(e *ast.CallExpr, pkg, name string) bool {
	f, ok := e.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != name {
		return false
	}
	x, ok := f.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func isSQL(lit *ast.BasicLit) bool {
	if lit.Kind != token.STRING {
		return false
	}
	text, err := strconv.Unquote(lit.Value)
	return err == nil && statement.MatchString(text)
}

// Hostile are values for filters that would be heard if they came into the text of a statement.
func Hostile() []string {
	return []string{"' OR '1'='1", "x'; DROP TABLE request; --", `" OR ""="`, "$1", "%d", "%s%!", "?", "\\", "x\x00y", "1) OR (1=1", "/*", "\u02bc OR 1=1", "é\xff"}
}

// Fixed fails when the text of a statement depends on a value: build gets one for each filter of a list and returns the text, and the
// arguments, among which the value has to stand.
func Fixed(t *testing.T, build func(value string) (sql string, args []any)) {
	t.Helper()
	plain, _ := build("x")
	for _, value := range Hostile() {
		sql, args := build(value)
		if sql != plain {
			t.Errorf("the value %q comes into the text:\n%s", value, sql)
		}
		if len(args) == 0 {
			t.Errorf("the value %q is no argument", value)
		}
	}
}
