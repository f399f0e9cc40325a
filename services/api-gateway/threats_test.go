package apigateway_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	threatsFile = "testdata/threats.txt"
	threats     = 48
	root        = "../.."
)

// threat is an entry of the file of threats.
type threat struct {
	name, control string
	proofs        [][]string // a package, or `make`, and what of it
	lacks         []string
}

// The table of threats in the README is that of the file, every threat has a control and something that tries it, and every test of the table
// is there.
func TestThreats(t *testing.T) {
	all := readThreats(t)
	if len(all) != threats {
		t.Errorf("%d threats, want %d", len(all), threats)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]map[string]bool{}
	for i, x := range all {
		if x.control == "" || len(x.proofs) == 0 && len(x.lacks) == 0 {
			t.Errorf("threat %d: nothing stands in its way, or nothing says that it does: %+v", i+1, x)
		}
		for _, proof := range x.proofs {
			if proof[0] == "make" {
				for _, target := range proof[1:] {
					if !bytes.Contains(makefile, []byte("\n"+target+":")) {
						t.Errorf("threat %d: there is no `make %s`", i+1, target)
					}
				}
				continue
			}
			if tests[proof[0]] == nil {
				tests[proof[0]] = testsOf(t, proof[0])
			}
			for _, name := range proof[1:] {
				if !tests[proof[0]][name] {
					t.Errorf("threat %d: %s has no %s", i+1, proof[0], name)
				}
			}
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- threats: written by `go test -run TestThreats -update` -->\n", "<!-- /threats -->\n"
	before, rest, ok := strings.Cut(string(readme), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("README.md has no place for the threats between %q and %q", begin, end)
	}
	table := tableOf(all)
	if was == table {
		return
	}
	if !*update {
		t.Fatalf("the table of threats in README.md is not that of %s: run `go test -run TestThreats -update`", threatsFile)
	}
	if err := os.WriteFile("README.md", []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readThreats reads the file of threats, whose first lines describe it.
func readThreats(t *testing.T) []threat {
	t.Helper()
	text, err := os.ReadFile(threatsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []threat
	for i, line := range strings.Split(string(text), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case kind == "" || kind == "#":
		case strconv.Itoa(len(all)+1) == kind:
			all = append(all, threat{name: rest})
		case len(all) == 0:
			t.Fatalf("%s:%d: %q is of no threat", threatsFile, i+1, line)
		case kind == "=":
			all[len(all)-1].control = rest
		case kind == ">":
			all[len(all)-1].proofs = append(all[len(all)-1].proofs, strings.Fields(rest))
		case kind == "-":
			all[len(all)-1].lacks = append(all[len(all)-1].lacks, rest)
		default:
			t.Fatalf("%s:%d: %q is no line of it", threatsFile, i+1, line)
		}
	}
	return all
}

// testsOf are the names of the tests of a package.
func testsOf(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests: %v", pkg, err)
	}
	names := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
	}
	return names
}

func tableOf(all []threat) string {
	var b strings.Builder
	b.WriteString("| # | threat | what stands in the way | proof |\n|---|---|---|---|\n")
	for i, x := range all {
		var proofs []string
		for _, proof := range x.proofs {
			proofs = append(proofs, "`"+proof[0]+"`: "+strings.Join(proof[1:], ", "))
		}
		for _, lack := range x.lacks {
			proofs = append(proofs, "*not there:* "+lack)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, x.name, x.control, strings.Join(proofs, "<br>"))
	}
	return b.String()
}
