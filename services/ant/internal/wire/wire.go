// Package wire is the protocol between an ant and its workers, as PROTOCOL.md describes it: JSON messages that are the
// same over NATS and over a WebSocket.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/exact"
)

// Version of the protocol.
const Version = 1

// MaxMessage bounds a message in both directions, in bytes.
const MaxMessage = 1 << 20

// Times of the protocol.
const (
	// AcceptWithin is how long a task waits for a worker's accept before it is sent again.
	AcceptWithin = 10 * time.Second
	// SilentFor is how long a worker that has accepted may say nothing before the attempt is lost.
	SilentFor = 30 * time.Second
	// HeartbeatEvery is the wished interval of heartbeats.
	HeartbeatEvery = 10 * time.Second
	// AwayFor is how long a worker's WebSocket may be gone before its attempts are lost.
	AwayFor = 20 * time.Second
)

// Type of a message.
type Type string

// The types.
const (
	TypeRegister   Type = "register"   // worker → ant, WebSocket only: first message of a connection
	TypeRegistered Type = "registered" // ant → worker, WebSocket only: the answer to it
	TypeTask       Type = "task"       // ant → worker: execute this
	TypeCancel     Type = "cancel"     // ant → worker: end it
	TypeAccept     Type = "accept"     // worker → ant: I execute it
	TypeHeartbeat  Type = "heartbeat"  // worker → ant: I still do
	TypeLog        Type = "log"        // worker → ant: lines for the task's log
	TypeReply      Type = "reply"      // worker → ant: how it ended
	TypeError      Type = "error"      // ant → worker, WebSocket only: why the connection is closed
)

// The statuses of a reply.
const (
	Completed = "COMPLETED"
	Failed    = "FAILED"
	Lost      = "LOST" // the worker gives the attempt back: it is run again as the job's rules for infrastructure say
)

// Message is any message; which fields are used depends on the type.
type Message struct {
	V    int  `json:"v"`
	Type Type `json:"type"`
	// UID of the attempt that the message is about.
	UID string `json:"uid,omitempty"`
	// Worker that sends it, or that alone is meant by a cancel.
	Worker string `json:"worker,omitempty"`

	// Task is what is to be done.
	Task *Task `json:"task,omitempty"`
	// ReplyTo is the NATS subject for everything that the worker says of the attempt.
	ReplyTo string `json:"reply_to,omitempty"`

	// GraceSeconds is how long a cancelled handler may take.
	GraceSeconds float64 `json:"grace_seconds,omitempty"`

	// Lines of a log, without their ends.
	Lines []string `json:"lines,omitempty"`

	// Reply: the end of the attempt.
	Status    string                     `json:"status,omitempty"`
	ExitCode  int                        `json:"exit_code,omitempty"`
	ErrorCode string                     `json:"error_code,omitempty"`
	Message   string                     `json:"message,omitempty"`
	Outputs   map[string]json.RawMessage `json:"outputs,omitempty"`
	Result    json.RawMessage            `json:"result,omitempty"`

	// Register: who the worker is, and the attempts of an earlier connection that it still knows.
	WorkerID string   `json:"worker_id,omitempty"`
	Methods  []string `json:"methods,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Slots    int      `json:"slots,omitempty"`
	Token    string   `json:"token,omitempty"`
	Resume   []string `json:"resume,omitempty"`

	// Registered: which of those the ant goes on with, and which nobody waits for.
	Resumed []string `json:"resumed,omitempty"`
	Gone    []string `json:"gone,omitempty"`
}

// Task is what a worker is asked to do.
type Task struct {
	JobID   string `json:"job_id"`
	JobType string `json:"job_type"`
	Run     int    `json:"run"`
	Name    string `json:"name"`
	Attempt int    `json:"attempt"`
	// IdempotencyKey is the same for all attempts of the task in its run.
	IdempotencyKey string `json:"idempotency_key"`
	// Variables declared by the task.
	Variables Variables `json:"variables,omitempty"`
	// Environment holds all variables as text.
	Environment map[string]string `json:"environment,omitempty"`
	// Script lines, if the task has any; their meaning is the worker's affair.
	Script []string `json:"script,omitempty"`
	// TimeoutSeconds is when the ant will cancel; 0 means never.
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`
	// HeartbeatSeconds is the wished interval of heartbeats.
	HeartbeatSeconds float64 `json:"heartbeat_seconds"`
}

// Variables keep the digits of their numbers: each is a float64, as handlers expect of JSON, or a json.Number where a
// float64 would change it.
type Variables map[string]any

// UnmarshalJSON reads an object, or null.
func (v *Variables) UnmarshalJSON(raw []byte) error {
	m, err := exact.DecodeObject(raw)
	if err != nil {
		return fmt.Errorf("read variables: %w", err)
	}
	exact.Floats(m)
	*v = m
	return nil
}

// ErrTooLarge says that a message passes MaxMessage.
var ErrTooLarge = fmt.Errorf("the message is larger than %d KiB", MaxMessage>>10)

// Encode makes the text of a message.
func Encode(m *Message) ([]byte, error) {
	m.V = Version
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode %s message: %w", m.Type, err)
	}
	data := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	if len(data) > MaxMessage {
		return nil, ErrTooLarge
	}
	return data, nil
}

// Decode reads a message. Fields and types that it does not know are left to later versions. A reply with a field of the
// wrong type is a failure of the attempt: its worker would only send it again.
func Decode(data []byte) (*Message, error) {
	if len(data) > MaxMessage {
		return nil, ErrTooLarge
	}
	m := &Message{}
	if err := json.Unmarshal(data, m); err != nil {
		odd, typed := errors.AsType[*json.UnmarshalTypeError](err)
		if !typed || m.V != Version || m.Type != TypeReply || m.UID == "" {
			return nil, fmt.Errorf("read message: %w", err)
		}
		return &Message{
			V: Version, Type: TypeReply, UID: m.UID, Worker: m.Worker, Status: Failed, ExitCode: 1,
			Message: fmt.Sprintf("the worker's reply cannot be read: its %s is a JSON %s", odd.Field, odd.Value),
		}, nil
	}
	if m.V != Version {
		return nil, fmt.Errorf("read message: version %d, want %d", m.V, Version)
	}
	return m, nil
}

// Text is the text of a JSON string, and the compact JSON of anything else.
func Text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return string(raw)
	}
	return compact.String()
}

// maxSubject bounds the name of a queue.
const maxSubject = 255

// CheckSubject refuses what may not be the subject of a queue: patterns, and subjects that are the colony's or the
// bus's own.
func CheckSubject(subject string) error {
	if subject == "" || len(subject) > maxSubject {
		return fmt.Errorf("subject %.40q: want 1 to %d bytes", subject, maxSubject)
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" {
			return fmt.Errorf("subject %q: an empty part", subject)
		}
	}
	for _, r := range subject {
		if r <= ' ' || r == 0x7f || r == '*' || r == '>' || r == 0xFFFD {
			return fmt.Errorf("subject %q: no spaces, control characters, '*' or '>' are allowed", subject)
		}
	}
	first, _, _ := strings.Cut(subject, ".")
	if strings.EqualFold(first, "formicary") || strings.HasPrefix(first, "$") || strings.HasPrefix(first, "_INBOX") {
		return fmt.Errorf("subject %q: subjects that begin with formicary., $ or _INBOX are not for tasks", subject)
	}
	return nil
}

// CancelSubject is where the workers of a queue hear of cancelled attempts, each of them.
func CancelSubject(queue string) string { return queue + ".cancel" }

// CheckRegister reports all faults of a registration at once.
func CheckRegister(m *Message) error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(validID(m.WorkerID), "worker_id %.40q: want letters, digits, '-' or '_', at most 63", m.WorkerID)
	for _, method := range m.Methods {
		check(method == MethodWebsocket, "method %.40q: want %s", method, MethodWebsocket)
	}
	check(len(m.Tags) <= maxTags, "%d tags: want at most %d", len(m.Tags), maxTags)
	for _, tag := range m.Tags {
		check(tag != "" && len(tag) <= maxTag, "tag %.40q: want 1 to %d bytes", tag, maxTag)
	}
	check(m.Slots >= 0 && m.Slots <= maxSlots, "slots %d: want 1 to %d", m.Slots, maxSlots)
	check(len(m.Resume) <= maxResume, "resume: want at most %d attempts", maxResume)
	return errors.Join(faults...)
}

// MethodWebsocket is what workers on a socket execute.
const MethodWebsocket = "WEBSOCKET"

const (
	maxTags   = 64
	maxTag    = 128
	maxSlots  = 1000
	maxResume = 4096
	maxID     = 63
)

func validID(id string) bool {
	if id == "" || len(id) > maxID || id[0] == '-' || id[0] == '_' {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
