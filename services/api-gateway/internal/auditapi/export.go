package auditapi

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
)

// writeJSON writes one event a line.
func writeJSON(events []*auditlog.Event) ([]byte, error) {
	var b bytes.Buffer
	for _, e := range events {
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(toProto(e))
		if err != nil {
			return nil, fmt.Errorf("encode audit event %d: %w", e.Seq, err)
		}
		b.Write(raw)
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

func titles() []byte {
	return []byte("seq,id,time,org,actor,actor_kind,credential,method,permission,object_kind,object_id,request_digest,before_digest,after_digest," +
		"address,request_id,agent,outcome,code,reason,took_micros,prev_hash,hash\n")
}

func writeCSV(events []*auditlog.Event) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	for _, e := range events {
		p := toProto(e)
		row := []string{
			strconv.FormatInt(p.GetSeq(), 10), p.GetId(), e.At.Format(time.RFC3339Nano), p.GetOrg(), p.GetActor(), p.GetActorKind(), p.GetCredential(),
			p.GetMethod(), p.GetPermission(), p.GetObjectKind(), p.GetObjectId(), p.GetRequestDigest(), p.GetBeforeDigest(), p.GetAfterDigest(),
			p.GetAddress(), p.GetRequestId(), p.GetAgent(), string(e.Outcome), p.GetCode(), p.GetReason(), strconv.FormatInt(p.GetTookMicros(), 10),
			p.GetPrevHash(), p.GetHash(),
		}
		for i := range row {
			row[i] = inert(row[i])
		}
		if err := w.Write(row); err != nil {
			return nil, fmt.Errorf("encode audit event %d: %w", e.Seq, err)
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// inert keeps a spreadsheet from calculating a cell: what callers say of themselves stands in it.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
