package auditlog

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// Outcome of a call.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "OK"
	Refused Outcome = "REFUSED"
	Failed  Outcome = "FAILED"
	Unknown Outcome = "UNKNOWN"
)

// Event is one call. Its fields mean what formicary/identity/v1/audit.proto says.
type Event struct {
	Seq           int64         `json:"-"`
	ID            uuid.UUID     `json:"-"`
	At            time.Time     `json:"-"`
	Org           string        `json:"org"`
	Actor         string        `json:"actor"`
	ActorKind     string        `json:"kind"`
	Credential    string        `json:"credential"`
	Method        string        `json:"method"`
	Permission    string        `json:"permission"`
	ObjectKind    string        `json:"object_kind"`
	ObjectID      string        `json:"object_id"`
	RequestDigest []byte        `json:"request_digest"`
	BeforeDigest  []byte        `json:"-"`
	AfterDigest   []byte        `json:"-"`
	Address       string        `json:"address"`
	RequestID     string        `json:"request_id"`
	Agent         string        `json:"agent"`
	Outcome       Outcome       `json:"-"`
	Code          string        `json:"-"`
	Reason        string        `json:"-"`
	Took          time.Duration `json:"-"`
	PrevHash      []byte        `json:"-"`
	Hash          []byte        `json:"-"`
}

// Object is what an event is about.
type Object struct{ Org, Kind, ID string }

// Object of the event.
func (e *Event) Object() Object { return Object{e.Org, e.ObjectKind, e.ObjectID} }

// form names the canonical encoding: it changes with it.
const form = "formicary audit 1"

// Sum returns the hash of the event and of the one before it: SHA-256 over all fields, each with its length.
func (e *Event) Sum() []byte {
	var b []byte
	add := func(field []byte) {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	number := func(n int64) { add(strconv.AppendInt(nil, n, 10)) }
	add([]byte(form))
	add(e.PrevHash)
	number(e.Seq)
	add(e.ID[:])
	number(e.At.UnixMicro())
	for _, text := range [...]string{e.Org, e.Actor, e.ActorKind, e.Credential, e.Method, e.Permission, e.ObjectKind, e.ObjectID} {
		add([]byte(text))
	}
	add(e.RequestDigest)
	add(e.BeforeDigest)
	add(e.AfterDigest)
	for _, text := range [...]string{e.Address, e.RequestID, e.Agent, string(e.Outcome), e.Code, e.Reason} {
		add([]byte(text))
	}
	number(e.Took.Microseconds())
	sum := sha256.Sum256(b)
	return sum[:]
}

// Head is an end of the chain.
type Head struct {
	Seq  int64
	Hash []byte
}

// String is SEQ:HASH.
func (h Head) String() string { return strconv.FormatInt(h.Seq, 10) + ":" + hex.EncodeToString(h.Hash) }

// ParseHead reads SEQ:HASH.
func ParseHead(text string) (Head, error) {
	seq, hash, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	raw, herr := hex.DecodeString(hash)
	if err != nil || herr != nil || n < 0 || len(raw) != sha256.Size {
		return Head{}, errs.Invalid("AUDIT_HEAD_INVALID", "%q is no end of the chain: want SEQ:HASH as a verification prints it", text)
	}
	return Head{n, raw}, nil
}

// Chain gives the events their places behind head and returns the new one. before knows the digests that objects had
// last, and is kept up to date.
func Chain(head Head, events []*Event, before map[Object][]byte) Head {
	for _, e := range events {
		if len(e.AfterDigest) > 0 {
			e.BeforeDigest = before[e.Object()]
			before[e.Object()] = e.AfterDigest
		}
		e.Seq, e.PrevHash = head.Seq+1, head.Hash
		e.Hash = e.Sum()
		head = Head{e.Seq, e.Hash}
	}
	return head
}

// The longest texts of an event, in bytes.
const (
	longestAgent = 200
	longestText  = 400
)

// clean makes a text from outside one that every store and terminal takes: valid, printable, on one line and not long.
func clean(text string, longest int) string {
	if len(text) > longest {
		text = text[:longest]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

func (e *Event) clean() {
	e.Agent = clean(e.Agent, longestAgent)
	for _, text := range [...]*string{&e.Org, &e.Actor, &e.ActorKind, &e.Credential, &e.ObjectKind, &e.ObjectID, &e.Address, &e.RequestID, &e.Code, &e.Reason} {
		*text = clean(*text, longestText)
	}
}
