package template

import "github.com/formicary/formicary/libs/jobspec/value"

// FunctionDoc documents one function of the templates: the page docs/functions.md is made of these, and a test runs the
// examples.
type FunctionDoc struct {
	Name string
	// Args as they are written; … repeats the last one, brackets hold what may be left out.
	Args string
	Doc  string
	// Example is a template over the variables of exampleVars, gives what it prints.
	Example, Gives string
}

// ExampleVars are the variables of the examples.
func ExampleVars() value.Vars {
	return value.Vars{
		"branch": "refs/heads/main", "name": "it's", "count": 3, "regions": []any{"eu", "us"}, "version": "1.4.2",
		"rows": `[{"id":1},{"id":2}]`, "map": map[string]any{"k": "v"}, "JobID": "42", "EpochSecs": 1_700_000_000,
	}
}

// FunctionTable lists the functions of the language. Text comes first and what is looked for in it after, as in the
// existing system.
func FunctionTable() []FunctionDoc {
	return append(append(textDocs(), valueDocs()...), goDocs()...)
}

// textDocs are the functions about text.
func textDocs() []FunctionDoc {
	return []FunctionDoc{
		{"trimPrefix", "text prefix", "The text without the prefix.", `{{trimPrefix .branch "refs/heads/"}}`, "main"},
		{"trimSuffix", "text suffix", "The text without the suffix.", `{{trimSuffix "job.yaml" ".yaml"}}`, "job"},
		{"hasPrefix", "text prefix", "Whether the text begins so.", `{{hasPrefix .branch "refs/"}}`, "true"},
		{"hasSuffix", "text suffix", "Whether the text ends so.", `{{hasSuffix .branch "/main"}}`, "true"},
		{"contains", "text part", "Whether the part is in the text; of a list, whether it is one of the items.", `{{contains .branch "heads"}} {{contains .regions "asia"}}`, "true false"},
		{"replace", "text old new", "The text with each old replaced.", `{{replace .branch "/" "-"}}`, "refs-heads-main"},
		{"split", "text separator", "The list of the parts of the text; of empty text an empty list.", `{{index (split .branch "/") 2}}`, "main"},
		{"join", "list separator", "The items as one text.", `{{join .regions ","}}`, "eu,us"},
		{"lower", "text", "In lower case.", `{{lower "Main"}}`, "main"},
		{"upper", "text", "In upper case.", `{{upper "main"}}`, "MAIN"},
		{"title", "text", "Each word with a capital.", `{{title "two words"}}`, "Two Words"},
		{"shellquote", "text", "One word of a shell, whatever the text holds.", `{{shellquote .name}}`, `'it'\''s'`},
		{"sha256", "text", "The digest in hexadecimal digits.", `{{slice (sha256 "abc") 0 8}}`, "ba7816bf"},
		{"Unescape", "text", "The text of HTML: its entities as characters.", `{{Unescape "a &lt; b"}}`, "a < b"},
		{"MarkdownLink", "text", "A link of Markdown, or an address, as HTML; other text with its signs as entities.", `{{MarkdownLink "[docs](https://example.com)"}}`, `<a href="https://example.com">docs</a>`},
		{"urlquery", "text…", "Text for a query of a URL.", `{{urlquery "a b&c"}}`, "a+b%26c"},
		{"html", "text…", "Text for HTML.", `{{html "<a>"}}`, "&lt;a&gt;"},
		{"js", "text…", "Text for JavaScript.", `{{js "it's"}}`, `it\'s`},
		{"semverCompare", "constraint version", "Whether a version fulfils a constraint such as ^1.2 or >=1.2, <2.", `{{semverCompare "^1.2" .version}}`, "true"},
	}
}

// valueDocs are the functions about values, time and jobs.
func valueDocs() []FunctionDoc {
	return []FunctionDoc{
		{"default", "otherwise value", "The value, or otherwise when it is not set, null or empty text.", `{{default "none" .unset}} {{.count | default 5}}`, "none 3"},
		{"required", "message value", "The value; the template fails when it is not set, null or empty text.", `{{required "which branch?" .branch}}`, "refs/heads/main"},
		{"Dict", "key value…", "A mapping of keys and values.", `{{(Dict "a" 1 "b" 2).b}}`, "2"},
		{"Iterate", "n", "The list of the numbers from 0 to below n, at most 10000.", `{{range Iterate .count}}{{.}}{{end}}`, "012"},
		{"Add", "a b", "The sum.", `{{Add .count 1}}`, "4"},
		{"Random", "min max", "A number from min to max, both included: the same whenever the attempt is rendered again.", `{{Random 7 7}}`, "7"},
		{"Percent100", "part whole", "How many hundredths of the whole the part is, at most 100; of nothing it is 100.", `{{Percent100 3 4}}`, "75"},
		{"atoi", "text", "The integer that the text is.", `{{Add (atoi "7") 1}}`, "8"},
		{"atof", "text", "The number that the text is.", `{{atof "1.50"}}`, "1.5"},
		{"toJson", "value", "The value as JSON.", `{{toJson .regions}}`, `["eu","us"]`},
		{"fromJson", "text", "The value of JSON text.", `{{range fromJson .rows}}{{.id}} {{end}}`, "1 2 "},
		{"now", "", "The time of the launch as RFC 3339.", `{{now}}`, "2023-11-14T22:13:20Z"},
		{"FormatTime", "time [layout]", "A time, given as seconds since 1970 or RFC 3339, in a layout of Go.", `{{FormatTime .EpochSecs "2006-01-02"}}`, "2023-11-14"},
		{"formatTime", "time [layout]", "The same as FormatTime.", `{{formatTime .EpochSecs}}`, "2023-11-14T22:13:20Z"},
		{"CountByJobTypeAndState", "type state…", "How many requests of a job there are in one of the states; known at the launch only.", `{{CountByJobTypeAndState "build" "PENDING" "READY,EXECUTING"}}`, "2"},
		{"SubmitJob", "type description name=value…", "Submits a job at the launch, once, and gives the id of its request.", `{{SubmitJob "build" "of main" "branch=main"}}`, "id-1"},
		{"SubmitJobsFromJSON", "type list name=value…", "Submits a job for each object of the list, whose entries are parameters, and gives the list of ids.", `{{join (SubmitJobsFromJSON "build" .rows "branch=main") " "}}`, "id-1 id-2"},
	}
}

// goDocs are the functions that Go's templates have.
func goDocs() []FunctionDoc {
	return []FunctionDoc{
		{"and", "a b…", "The first value that does not hold, else the last.", `{{and .count .version}}`, "1.4.2"},
		{"or", "a b…", "The first value that holds, else the last.", `{{or "" .branch}}`, "refs/heads/main"},
		{"not", "a", "Whether a value does not hold: false, 0, nothing or empty.", `{{not .unset}}`, "true"},
		{"eq", "a b…", "Whether the first is equal to one of the others.", `{{eq .version "1.4.1" "1.4.2"}}`, "true"},
		{"ne", "a b", "Whether they differ.", `{{ne .count 3}}`, "false"},
		{"lt", "a b", "Whether a is less.", `{{lt .count 5}}`, "true"},
		{"le", "a b", "Whether a is less or equal.", `{{le .count 3}}`, "true"},
		{"gt", "a b", "Whether a is greater.", `{{gt .count 5}}`, "false"},
		{"ge", "a b", "Whether a is greater or equal.", `{{ge .count 3}}`, "true"},
		{"index", "value key…", "An item of a list, or an entry of a mapping; index . \"a-b\" is the variable a-b.", `{{index .regions 0}} {{index .map "k"}}`, "eu v"},
		{"slice", "value [from [to]]", "A part of a text or of a list.", `{{slice .branch 0 4}}`, "refs"},
		{"len", "value", "The length of a text, in bytes, of a list or of a mapping.", `{{len .regions}}`, "2"},
		{"print", "value…", "The values as text, with spaces between those that are no texts.", `{{print .count 4}}`, "3 4"},
		{"printf", "format value…", "The values in a format of Go.", `{{printf "%03d-%s" .count .version}}`, "003-1.4.2"},
		{"println", "value…", "The values with spaces between and a line end after.", `{{println .count}}`, "3\n"},
	}
}

// FunctionNames lists the functions of the language.
func FunctionNames() []string {
	table := FunctionTable()
	out := make([]string, len(table))
	for i := range table {
		out[i] = table[i].Name
	}
	return out
}

// usageOf is how a function is written.
func usageOf(name string) string {
	for _, f := range FunctionTable() {
		if f.Name == name && f.Args != "" {
			return name + " " + f.Args
		}
	}
	return name
}
