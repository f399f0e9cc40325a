package cli

import (
	"bytes"

	"github.com/formicary/formicary/libs/logfile"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// logView shows the records of a log to people: with their times, and on a terminal stderr in its own colour and groups
// as headings. It is of one log; text that is no records passes as it is.
type logView struct {
	times  bool
	styled bool // it goes to a terminal

	inside bool // the last line goes on
}

const (
	stderrColour = "\x1b[31m"
	noteColour   = "\x1b[2m"
	headingStyle = "\x1b[1m"
	stampLayout  = "2006-01-02T15:04:05.000000Z "
)

// text is what is printed of a piece.
func (v *logView) text(m *executionv1.WatchTaskLogResponse, p []byte) []byte {
	if !m.GetRecords() {
		return p
	}
	var out []byte
	for len(p) > 0 {
		r, rest, err := logfile.Cut(p)
		if err != nil {
			return append(out, p...)
		}
		p = rest
		out = v.record(out, r)
		v.inside = !r.Ends
	}
	return out
}

func (v *logView) record(dst []byte, r logfile.Record) []byte {
	text, style := r.Text, ""
	if v.styled {
		switch r.Stream {
		case logfile.Stderr:
			style = stderrColour
		case logfile.Note:
			style = noteColour
		default: // as the task printed it
		}
	}
	if v.styled && r.Ends && !v.inside {
		if bytes.HasPrefix(text, []byte("::endgroup::")) {
			return dst
		}
		if name, ok := bytes.CutPrefix(text, []byte("::group::")); ok {
			text, style = append([]byte("▸ "), name...), headingStyle
		}
	}
	if v.times && !v.inside {
		dst = r.Time().AppendFormat(dst, stampLayout)
	}
	if dst = append(append(dst, style...), text...); style != "" {
		dst = append(dst, noColour...)
	}
	if r.Ends {
		dst = append(dst, '\n')
	}
	return dst
}
