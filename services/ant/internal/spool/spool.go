// Package spool is the ant's memory over restarts: which attempts it has started, and the results that supervisor has
// not settled yet. It is one journal file to which every change is appended by a single write.
//
// Nothing is synced: the journal must survive the death of the process, and what was written is the kernel's then. A
// power cut can lose its end; the attempts of it are LOST to supervisor, as those of any host that went away.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Kinds of records.
const (
	kindStarted byte = 1 + iota
	kindEnded
	kindForgotten
	kindBegan // kindStarted with the time before its payload
)

const timeSize = 8

const (
	header      = 8 // length and checksum
	maxRecord   = 1 << 20
	rewriteFrom = 4 << 20 // a journal smaller than this is never rewritten
)

// Attempt that an earlier life of the ant started and did not end.
type Attempt struct {
	UID string
	// Began is when it began; zero when that is not known.
	Began time.Time
	// Trace finds what was started.
	Trace string
}

// entry is a live attempt: its last record in the journal.
type entry struct {
	kind   byte
	at     int64 // of the record's payload in the file
	length int
	sent   time.Time     // a result: when it was handed to the bus
	wait   time.Duration // a result: until it is sent again
}

// Spool is safe for concurrent use.
type Spool struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
	next int64 // size at which the journal is rewritten
	live map[string]*entry
}

var table = crc32.MakeTable(crc32.Castagnoli)

// Open reads the journal in dir, or begins one, and returns the attempts that were started and not ended.
func Open(dir string) (*Spool, []Attempt, error) {
	s := &Spool{path: filepath.Join(dir, "journal"), live: map[string]*entry{}}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open spool: %w", err)
	}
	s.file = f
	if err := s.load(); err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	left, err := s.started()
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return s, left, nil
}

// load reads the records up to the first that is not whole: the writer died in it.
func (s *Spool) load() error {
	raw, err := io.ReadAll(s.file)
	if err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	for {
		kind, uid, payload, n := decode(raw[s.size:])
		if n == 0 {
			break
		}
		if kind == kindForgotten {
			delete(s.live, uid)
		} else {
			s.live[uid] = &entry{kind: kind, at: s.size + int64(n-len(payload)), length: len(payload)}
		}
		s.size += int64(n)
	}
	s.next = max(rewriteFrom, 2*s.size)
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("cut spool: %w", err)
	}
	return nil
}

// encode makes a record: length, checksum, kind, length of the uid, uid, payload.
func encode(kind byte, uid string, payload []byte) []byte {
	n := 2 + len(uid) + len(payload)
	r := make([]byte, header, header+n)
	r = append(r, kind, byte(len(uid)))
	r = append(append(r, uid...), payload...)
	binary.LittleEndian.PutUint32(r, uint32(n))
	binary.LittleEndian.PutUint32(r[4:], crc32.Checksum(r[header:], table))
	return r
}

// decode returns the first record of raw and its length, 0 when there is none.
func decode(raw []byte) (kind byte, uid string, payload []byte, length int) {
	if len(raw) < header {
		return 0, "", nil, 0
	}
	n := int(binary.LittleEndian.Uint32(raw))
	if n < 2 || n > maxRecord || len(raw) < header+n {
		return 0, "", nil, 0
	}
	body := raw[header : header+n]
	if crc32.Checksum(body, table) != binary.LittleEndian.Uint32(raw[4:]) || 2+int(body[1]) > n {
		return 0, "", nil, 0
	}
	k := 2 + int(body[1])
	return body[0], string(body[2:k]), body[k:], header + n
}

// Started notes when an attempt has begun and how to find what it started.
func (s *Spool) Started(uid string, began time.Time, trace string) error {
	payload := binary.LittleEndian.AppendUint64(make([]byte, 0, timeSize+len(trace)), uint64(began.UnixMicro()))
	return s.append(kindBegan, uid, append(payload, trace...))
}

// Ended notes the result of an attempt, handed to the bus now.
func (s *Spool) Ended(uid string, result []byte, now time.Time, wait time.Duration) error {
	if err := s.append(kindEnded, uid, result); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.live[uid]; e != nil {
		e.sent, e.wait = now, wait
	}
	return nil
}

// Forget drops attempts: settled, or gone.
func (s *Spool) Forget(uids ...string) error {
	for _, uid := range uids {
		if err := s.append(kindForgotten, uid, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) append(kind byte, uid string, payload []byte) error {
	if len(uid) > 255 || len(payload) > maxRecord-512 {
		return fmt.Errorf("spool %s: a record of %d bytes is too large", uid, len(payload))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == kindForgotten && s.live[uid] == nil {
		return nil
	}
	r := encode(kind, uid, payload)
	if _, err := s.file.WriteAt(r, s.size); err != nil {
		_ = s.file.Truncate(s.size) // what is half there would end the reading
		return fmt.Errorf("spool %s: %w", uid, err)
	}
	if kind == kindForgotten {
		delete(s.live, uid)
	} else {
		s.live[uid] = &entry{kind: kind, at: s.size + int64(len(r)-len(payload)), length: len(payload)}
	}
	s.size += int64(len(r))
	if s.size >= s.next {
		_ = s.rewrite() // the record is in the old journal, which grows until a later rewrite works
	}
	return nil
}

// rewrite makes a new journal of the live records. The old one stays in use when that fails.
func (s *Spool) rewrite() error {
	s.next = 2 * s.size
	temp, err := os.OpenFile(s.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite spool: %w", err)
	}
	moved, size, err := s.copyTo(temp)
	if err == nil {
		err = os.Rename(temp.Name(), s.path)
	}
	if err != nil {
		_ = temp.Close()
		_ = os.Remove(temp.Name())
		return fmt.Errorf("rewrite spool: %w", err)
	}
	_ = s.file.Close()
	s.file, s.size, s.next = temp, size, max(rewriteFrom, 2*size)
	for uid, at := range moved {
		s.live[uid].at = at
	}
	return nil
}

func (s *Spool) copyTo(f *os.File) (moved map[string]int64, size int64, err error) {
	moved = make(map[string]int64, len(s.live))
	for uid, e := range s.live {
		payload, err := s.payload(e)
		if err != nil {
			return nil, 0, err
		}
		r := encode(e.kind, uid, payload)
		if _, err := f.WriteAt(r, size); err != nil {
			return nil, 0, err
		}
		moved[uid] = size + int64(len(r)-len(payload))
		size += int64(len(r))
	}
	return moved, size, nil
}

func (s *Spool) payload(e *entry) ([]byte, error) {
	p := make([]byte, e.length)
	if _, err := s.file.ReadAt(p, e.at); err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	return p, nil
}

func (s *Spool) started() ([]Attempt, error) {
	var left []Attempt
	for uid, e := range s.live {
		if e.kind != kindStarted && e.kind != kindBegan {
			continue
		}
		trace, err := s.payload(e)
		if err != nil {
			return nil, err
		}
		a := Attempt{UID: uid}
		if e.kind == kindBegan && len(trace) >= timeSize {
			a.Began, trace = time.UnixMicro(int64(binary.LittleEndian.Uint64(trace))), trace[timeSize:]
		}
		a.Trace = string(trace)
		left = append(left, a)
	}
	return left, nil
}

// Unsettled lists the attempts whose result is kept.
func (s *Spool) Unsettled() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uids []string
	for uid, e := range s.live {
		if e.kind == kindEnded {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return uids
}

// Holds reports whether the attempt's result is kept.
func (s *Spool) Holds(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live[uid]
	return e != nil && e.kind == kindEnded
}

// Retry makes a result due at once: it did not get through.
func (s *Spool) Retry(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.live[uid]; e != nil {
		e.sent = time.Time{}
	}
}

const maxWait = time.Minute

// Due returns the results that are to be sent again now, at most limit, and doubles the wait of each.
func (s *Spool) Due(now time.Time, limit int) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := map[string][]byte{}
	var failed error
	for uid, e := range s.live {
		if len(due) == limit {
			break
		}
		if e.kind != kindEnded || now.Sub(e.sent) < e.wait {
			continue
		}
		p, err := s.payload(e)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("result of %s: %w", uid, err))
			continue
		}
		due[uid] = p
		e.sent, e.wait = now, min(max(2*e.wait, time.Second), maxWait)
	}
	return due, failed
}

// Close closes the journal; what it holds stays.
func (s *Spool) Close() error { return s.file.Close() }
