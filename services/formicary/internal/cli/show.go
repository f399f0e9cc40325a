package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
)

const maxInput = 4 << 20

func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxInput)) }

// show prints a message in the chosen format; name and table say how the other two look.
func (a *app) show(m proto.Message, name []string, table func(io.Writer)) error {
	switch a.output {
	case "name":
		for _, n := range name {
			line(a.Out, n)
		}
		return nil
	case "table":
		return tabulate(a.Out, table)
	}
	raw, err := toJSON(m)
	if err != nil {
		return err
	}
	return a.showJSON(raw)
}

// showJSON prints a document as JSON or YAML.
func (a *app) showJSON(raw []byte) error {
	var out bytes.Buffer
	if a.output == "yaml" {
		var doc yaml.Node
		if err := yaml.Unmarshal(raw, &doc); err != nil {
			return fmt.Errorf("convert to YAML: %w", err)
		}
		plain(&doc)
		enc := yaml.NewEncoder(&out)
		enc.SetIndent(2)
		if err := enc.Encode(&doc); err != nil {
			return fmt.Errorf("convert to YAML: %w", err)
		}
	} else {
		if err := json.Indent(&out, raw, "", "  "); err != nil {
			return fmt.Errorf("indent JSON: %w", err)
		}
		out.WriteByte('\n')
	}
	_, err := out.WriteTo(a.Out)
	return err
}

// toJSON encodes with the names of the protos. protojson varies its spaces on purpose, so they are taken out.
func toJSON(m proto.Message) (json.RawMessage, error) {
	raw, err := exact.Marshal(protojson.MarshalOptions{UseProtoNames: true}, m)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return out.Bytes(), nil
}

// plain makes YAML out of JSON's flow style and quotes.
func plain(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && strings.Contains(n.Value, "\n") {
		n.Style = yaml.LiteralStyle
	} else {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// printf writes to a terminal or a pipe. When it is gone there is nobody to tell. Much of what is told was written by
// somebody else, so it cannot steer the terminal.
func printf(w io.Writer, format string, args ...any) {
	_, _ = io.WriteString(w, inert(fmt.Sprintf(format, args...), false))
}

// line is printf for one line.
func line(w io.Writer, text any) { printf(w, "%v\n", text) }

// tabulate prints columns that are separated by tabs.
func tabulate(w io.Writer, table func(io.Writer)) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	table(t)
	return t.Flush()
}

// row prints cells; line breaks inside would break the table.
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = strings.NewReplacer("\n", " ", "\t", " ").Replace(fmt.Sprint(c))
	}
	line(w, strings.Join(text, "\t"))
}

// fact prints a line "name: value" unless the value is empty.
func fact(w io.Writer, name string, value any) {
	if s := fmt.Sprint(value); s != "" && s != "0" {
		row(w, name+":", s)
	}
}

const shortID = 18 // of a UUIDv7: its millisecond and 12 random bits

// short is the beginning of an id that names it well enough.
func short(id string) string {
	if len(id) <= shortID {
		return id
	}
	return id[:shortID]
}

// clock is a local time, "" for none.
func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05")
}

// between is the time from one to the other, "" when it has not begun; what has not ended lasts until now.
func between(from, to *timestamppb.Timestamp) string {
	if from == nil {
		return ""
	}
	end := time.Now()
	if to != nil {
		end = to.AsTime()
	}
	return span(end.Sub(from.AsTime()))
}

// span is a duration with as many digits as matter.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// since is the age of a moment.
func since(t *timestamppb.Timestamp) string { return between(t, nil) }

func (a *app) versionLine() string {
	return fmt.Sprintf("formicary %s (%s, %s/%s)\n", a.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) showVersion() error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision,omitempty"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{Version: a.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	switch a.output {
	case "table":
		printf(a.Out, "%s", a.versionLine())
		return nil
	case "name":
		line(a.Out, v.Version)
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode version: %w", err)
	}
	return a.showJSON(raw)
}

// keyValues reads -p k=v.
func keyValues(pairs []string) (map[string]any, error) {
	out := map[string]any{}
	for _, p := range pairs {
		k, v, ok := cut(p)
		if !ok {
			return nil, usageError(errs.Invalid("PARAM", "parameter %q: want name=value", p))
		}
		out[k] = v
	}
	return out, nil
}

func cut(pair string) (k, v string, ok bool) {
	k, v, ok = strings.Cut(pair, "=")
	return k, v, ok && k != ""
}
