package pg

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
)

// faults are stored values that cannot be read. One of them must not keep a batch from being handled: the run goes on
// without the value, and a person finds it in quarantine.
type faults struct {
	keys, reasons []string
	payloads      [][]byte
}

// decodeInto decodes a value, if there is one. to is as it was when it cannot be decoded.
func decodeInto[T any](f *faults, raw []byte, to *T, what string, id fmt.Stringer, idx int) {
	if len(raw) == 0 {
		return
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		f.add(raw, err, what, id, idx)
		return
	}
	*to = v
}

func (f *faults) add(raw []byte, err error, what string, id fmt.Stringer, idx int) {
	f.keys = append(f.keys, fmt.Sprintf("%s %s %d", what, id, idx))
	f.reasons, f.payloads = append(f.reasons, storable.Text(err.Error())), append(f.payloads, bytes.Clone(raw))
}

// queue keeps them for a person.
func (f *faults) queue(t *pgdb.Pipeline) {
	if len(f.keys) > 0 {
		t.Queue(`INSERT INTO quarantine (kind, key, payload, reason) SELECT 'record', unnest($1::text[]), unnest($2::bytea[]), unnest($3::text[])
			ON CONFLICT (kind, key) DO NOTHING`, f.keys, f.payloads, f.reasons)
	}
}
