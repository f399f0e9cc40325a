package jobspec_test

import (
	"bytes"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// rendered renders a template in the place of a text and returns the text.
func rendered(t testing.TB, text string, vars value.Vars) (string, error) {
	t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte("job_type: j\ntasks:\n- task_type: a\n  method: SHELL\n  working_dir: |2-\n    "+strings.ReplaceAll(text, "\n", "\n    ")+"\n  script: x\n"))
	if err != nil {
		return "", err
	}
	p, err := def.Plan(vars)
	if err != nil {
		return "", err
	}
	return p.Tasks[0].Spec.WorkingDir, nil
}

// TestTemplatesAsTextTemplate compares what templates print with text/template, whose language this is.
func TestTemplatesAsTextTemplate(t *testing.T) {
	vars := map[string]any{
		"s": "text", "n": 3, "f": 1.5, "yes": true, "no": false, "empty": "", "list": []any{"a", "b", "c"},
		"map": map[string]any{"k": "v", "l": []any{1, 2}, "m": map[string]any{"x": "y"}}, "nothing": nil,
	}
	for _, text := range []string{
		`{{.s}}`, `{{.n}}{{.f}}{{.yes}}`, `a {{.s}} b {{- .s -}} c`, `{{/* comment */}}x`, `{{if .yes}}a{{else}}b{{end}}`,
		`{{if .no}}a{{else if .empty}}b{{else}}c{{end}}`, `{{if and .yes .n}}a{{end}}{{if or .no .empty .s}}b{{end}}`,
		`{{and .yes .s}}{{or .empty .n}}{{not .yes}}`, `{{range .list}}{{.}},{{end}}`, `{{range $i, $v := .list}}{{$i}}={{$v}} {{end}}`,
		`{{range $k, $v := .map.m}}{{$k}}:{{$v}}{{end}}`, `{{range .empty}}x{{else}}none{{end}}`, `{{range 3}}{{.}}{{end}}`, `{{range $i := 3}}{{$i}}{{end}}`,
		`{{range .list}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}`, `{{range .list}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}`,
		`{{with .map}}{{.k}}{{with .m}}{{.x}}{{$.s}}{{end}}{{end}}`, `{{with .empty}}x{{else}}y{{end}}`, `{{with $x := .n}}{{$x}}{{end}}`,
		`{{with .empty}}x{{else with .s}}{{.}}{{end}}`,
		`{{$x := 1}}{{if .yes}}{{$x = 2}}{{end}}{{$x}}`, `{{$x := 1}}{{if .yes}}{{$x := 2}}{{$x}}{{end}}{{$x}}`,
		`{{$i := 0}}{{range .list}}{{$i}}{{$i = len $.list}}{{end}}{{$i}}`,
		`{{define "t"}}<{{.}}>{{end}}{{template "t" .s}}{{template "t" .n}}`, `{{block "b" .map}}{{.k}}{{end}}`,
		`{{define "r"}}{{if gt . 1}}{{.}}{{end}}{{end}}{{template "r" .n}}`,
		`{{index .list 1}}{{index .map "k"}}{{index .map "l" 0}}`, `{{slice .s 1 3}}{{slice .list 1}}`, `{{len .s}}{{len .list}}{{len .map}}`,
		`{{eq .n 3}}{{eq .s "a" "text"}}{{ne .s "x"}}{{lt .n 4}}{{le .n 3}}{{gt .f 1.0}}{{ge .s "a"}}`,
		`{{print .s .n}}{{printf "%05d %-5s| %q %.2f %v %t %%" .n .s .s .f .yes .no}}{{println .s}}x`, `{{html "<a>"}}{{js "it's"}}{{urlquery "a b&c"}}`,
		`{{"lit"}}{{'a'}}{{1.5}}{{true}}{{0x10}}{{1e3}}`, `{{.s | printf "%s-%s" "x"}}`, `{{(index .list 0) | print}}`, `{{(.map).k}}{{(print .s).x | printf "%v" | len | eq 0}}`,
		`{{printf "%d" (len (print .s .s))}}`, `{{.map.m.x}}{{$.map.m.x}}{{$m := .map}}{{$m.m.x}}`,
		"x{{- range $i, $e := .list }}\n   {{ $i }} {{ $e }}\n   {{- end }}",
	} {
		want := &bytes.Buffer{}
		err := template.Must(template.New("main").Parse(text)).Execute(want, vars)
		got, gotErr := rendered(t, text, vars)
		if (err != nil) != (gotErr != nil) {
			t.Errorf("%s: error %v, text/template %v", text, gotErr, err)
			continue
		}
		expected := strings.ReplaceAll(want.String(), "[b c]", `["b","c"]`) // lists print as JSON here
		if err == nil && got != expected {
			t.Errorf("%s\n got %q\nwant %q", text, got, expected)
		}
	}
}

func TestFunctions(t *testing.T) {
	vars := value.Vars{
		"s": "héllo wörld", "list": []any{"a", 2, true}, "json": `{"a":[1,{"b":null}]}`, "JobID": "id", "EpochSecs": 1700000000,
		"v": "1.4.2", "count": "5", "big": 12345678901, "zero": 0, "no": false, "sub.ForkedJobID": "child", "call_result": `{"id": 7, "who": {"name": "ann"}}`,
	}
	for text, want := range map[string]string{
		`{{default "d" .none}}{{default "d" .v}}{{default "d" ""}}`:                                            "d1.4.2d",
		`{{.none | default "x"}}`:                                                                              "x",
		`{{if .none}}a{{else}}b{{end}}{{with .none}}{{end}}`:                                                   "b",
		`{{if eq .none "x"}}a{{else}}b{{end}}`:                                                                 "b",
		`{{Add 1 2}}{{Add .count 1}}{{Add 1.5 1}}{{Add "2" "3"}}`:                                              "362.55",
		`{{range Iterate .count}}{{.}}{{end}}`:                                                                 "01234",
		`{{(Dict "a" 1 "b" "x").b}}{{index (Dict "a" 1) "a"}}`:                                                 "x1",
		`{{trimPrefix "v1" "v"}}{{trimSuffix "a.go" ".go"}}{{hasPrefix "ab" "a"}}{{hasSuffix "ab" "a"}}`:       "1atruefalse",
		`{{upper .s}}|{{lower "ÀB"}}|{{title .s}}`:                                                             "HÉLLO WÖRLD|àb|Héllo Wörld",
		`{{contains .s "llo"}}{{contains .list 2}}{{contains .s "zz"}}`:                                        "truetruefalse",
		`{{replace .s "l" "L"}}`:                                                                               "héLLo wörLd",
		`{{join .list "-"}}{{index (split "a,b" ",") 1}}{{len (split "" ",")}}`:                                "a-2-trueb0",
		`{{Unescape "&lt;a&gt;"}}{{MarkdownLink "<t>"}}{{Percent100 1 3}}{{Percent100 9 3}}{{Percent100 1 0}}`: "<a>&lt;t&gt;33100100",
		`{{MarkdownLink "[a](javascript:x)"}} {{MarkdownLink "https://a.b/?c&d"}}`:                             `[a](javascript:x) <a href="https://a.b/?c&amp;d">https://a.b/?c&amp;d</a>`,
		`{{default 5 .zero}} {{default true .no}} {{default "d" .list}}`:                                       `0 false ["a",2,true]`,
		`{{.s | replace "x" "y"}}{{"," | split "a,b" | len}}`:                                                  "x2",
		`{{FormatTime .EpochSecs}} {{formatTime .EpochSecs "2006"}} {{now}}`:                                   "2023-11-14T22:13:20Z 2023 2023-11-14T22:13:20Z",
		`{{atoi " 12 "}}{{atof "1.50"}}`:                                                                       "121.5",
		`{{toJson .list}}{{(index (fromJson .json).a 0)}}{{toJson (fromJson .json)}}`:                          `["a",2,true]1{"a":[1,{"b":null}]}`,
		`{{shellquote "it's; rm -rf /"}}`:                                                                      `'it'\''s; rm -rf /'`,
		`{{required "no" .v}}{{sha256 "abc"}}`:                                                                 "1.4.2ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		`{{semverCompare ">=1.2, <2" .v}}{{semverCompare "^1.5" .v}}{{semverCompare "~1.4.0" .v}}{{semverCompare "1.4.2" .v}}{{semverCompare ">1.4.2-rc1" .v}}`: "truefalsetruetruetrue",
		`{{semverCompare "<1.0.0-rc.11" "1.0.0-rc.2"}}{{semverCompare "!=1.0" "1.0.0"}}`:                                                                        "truefalse",
		`{{.sub.ForkedJobID}}`:                          "child",
		`{{.call_result.id}} {{.call_result.who.name}}`: "7 ann",
		`{{.call_result}}`:                              `{"id": 7, "who": {"name": "ann"}}`,
		`{{printf "%d %s %.1f" .count .count .count}}`:  "5 5 5.0",
		`{{.list}} {{.big}}`:                            `["a",2,true] 12345678901`,
		`{{index . "v"}}{{len (index . "list")}}`:       "1.4.23",
		`{{lt .count 10}}`:                              "true",
		`{{.TaskType}}{{.JobType}}{{.JobRetry}}`:        "aj0",
	} {
		got, err := rendered(t, text, vars)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestFunctionsFail(t *testing.T) {
	for text, want := range map[string]string{
		`{{required "give one" .none}}`:     "the variable none is required",
		`{{upper .none}}`:                   "the variable none is not set",
		`{{.none.field}}`:                   "the variable none is not set",
		`{{.s.field}}`:                      "the field field is asked of what is no mapping",
		`{{Iterate -1}}`:                    "the count is no number",
		`{{Iterate "x"}}`:                   "the count is no number",
		`{{Random 5 1}}`:                    "bounds",
		`{{index .s 1}}`:                    "no list and no mapping",
		`{{lower}}`:                         "wrong number of arguments",
		`{{lower 1 2}}`:                     "wrong number of arguments",
		`{{template "none"}}`:               `the template "none" is not defined`,
		`{{.}}`:                             "all variables at once cannot be printed",
		`{{fromJson "{"}}`:                  "the value is no JSON",
		`{{semverCompare ">>1" "1.0"}}`:     "constraint",
		`{{range .s}}{{end}}`:               "range goes over what is no list",
		`{{now}}`:                           "the variable EpochSecs is not set",
		`{{printf "%[1]*d" 5 6}}`:           "printf takes widths",
		`{{lt .s .list}}`:                   "cannot be ordered",
		`{{.s 1}}`:                          "arguments are given to what is no function",
		`{{call .s}}`:                       "the function call is not allowed",
		`{{nil}}`:                           "",
		`{{99999999999999999999999999999}}`: "",
	} {
		_, err := rendered(t, text, value.Vars{"s": "x", "list": []any{1}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestRandomIsRepeatable renders a number again, and in another attempt.
func TestRandomIsRepeatable(t *testing.T) {
	text := `{{range Iterate 20}}{{Random 1 6}} {{end}}`
	first, err := rendered(t, text, value.Vars{"JobID": "a"})
	if err != nil {
		t.Fatal(err)
	}
	again, _ := rendered(t, text, value.Vars{"JobID": "a"})
	other, _ := rendered(t, text, value.Vars{"JobID": "b"})
	retried, _ := rendered(t, text, value.Vars{"JobID": "a", "TaskRetry": 1})
	if first != again || first == other || first == retried || strings.Count(first, first[:2]) == 20 {
		t.Errorf("%q %q %q %q", first, again, other, retried)
	}
	for n := range strings.FieldsSeq(first) {
		if n < "1" || n > "6" {
			t.Errorf("%s", n)
		}
	}
}

// Texts are compared by all of their digits only as far as that costs little.
func TestLongNumbersAreComparedInTime(t *testing.T) {
	long := "1" + strings.Repeat("0", 900_000) + "7e-900001"
	took := cost(func() {
		if _, err := rendered(t, `{{range Iterate 20}}{{if gt $.long 1}}a{{end}}{{end}}`, value.Vars{"long": long}); err != nil {
			t.Fatal(err)
		}
	})
	if took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
