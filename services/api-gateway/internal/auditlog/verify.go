package auditlog

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/formicary/formicary/libs/access"
)

// Fault is a place where the chain is broken.
type Fault struct {
	Seq     int64
	Kind    string
	Message string
}

// The kinds of faults.
const (
	Changed   = "changed"
	Removed   = "removed"
	Broken    = "broken"
	Cut       = "cut"
	HeadWrong = "head"
	Signature = "signature"
)

// Progress is how far a verification has come.
type Progress struct {
	Checked int64
	Faults  []Fault // since the one before
	Done    bool
	Head    Head
	Signed  int64
	Total   int64
}

const (
	verifyPage = 2000
	mostFaults = 1000
)

// Verify walks the chain and tells after each page how far it has come. known is an end of the chain from elsewhere, or zero.
// roots are those of whom the signatures may be; nil when they cannot be checked.
func (l *Log) Verify(ctx context.Context, known Head, roots *x509.CertPool, tell func(Progress) error) error {
	v := &verifier{store: l.o.Store, known: known, roots: roots, tell: tell}
	return v.run(access.Acting(ctx, ""))
}

type verifier struct {
	store Store
	known Head
	roots *x509.CertPool
	tell  func(Progress) error

	last   Head // the last event that was seen
	p      Progress
	marks  []Checkpoint // those ahead
	behind int64        // the place of the last one that was read
	ended  bool         // no more are to be read
}

func (v *verifier) fault(seq int64, kind, format string, args ...any) {
	if v.p.Total++; v.p.Total <= mostFaults {
		v.p.Faults = append(v.p.Faults, Fault{seq, kind, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) say() error {
	err := v.tell(v.p)
	v.p.Faults = nil
	return err
}

func (v *verifier) run(ctx context.Context) error {
	head, err := v.store.Head(ctx) // before the events: what is sealed meanwhile is looked at, too
	if err != nil {
		return err
	}
	for {
		events, err := v.store.Page(ctx, v.last.Seq, verifyPage)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := v.event(ctx, e); err != nil {
				return err
			}
		}
		if len(events) == 0 {
			break
		}
		if err := v.say(); err != nil {
			return err
		}
	}
	return v.end(ctx, head)
}

// zero is the hash before the first event.
var zero = make([]byte, 32) //nolint:gochecknoglobals // a constant

func (v *verifier) event(ctx context.Context, e *Event) error {
	v.p.Checked++
	before := v.last.Hash
	if v.last.Seq == 0 {
		before = zero
	}
	missing := e.Seq - v.last.Seq - 1
	switch {
	case e.Seq < 1:
		v.fault(e.Seq, Broken, "event %d stands before the first", e.Seq)
	case missing > 0:
		v.fault(v.last.Seq+1, Removed, "events %d to %d are missing", v.last.Seq+1, e.Seq-1)
	case !bytes.Equal(e.PrevHash, before):
		v.fault(e.Seq, Broken, "event %d does not follow event %d: one of the two was put there, or changed and given a new hash", e.Seq, v.last.Seq)
	}
	if !bytes.Equal(e.Hash, e.Sum()) {
		v.fault(e.Seq, Changed, "event %d (%s by %q at %s) is not what was written: its hash is another", e.Seq, e.Method, e.Actor, e.At.UTC().Format(time.RFC3339))
	}
	v.last = Head{e.Seq, e.Hash}
	if v.known.Seq == e.Seq && v.known.Hash != nil && !bytes.Equal(v.known.Hash, e.Hash) {
		v.fault(e.Seq, HeadWrong, "event %d is not the one that the earlier verification ended with: the chain was written anew before it", e.Seq)
	}
	return v.passMarks(ctx, e.Seq)
}

// passMarks checks the checkpoints up to a place.
func (v *verifier) passMarks(ctx context.Context, seq int64) error {
	for {
		if len(v.marks) == 0 && !v.ended {
			marks, err := v.store.Checkpoints(ctx, v.behind, verifyPage)
			if err != nil {
				return err
			}
			v.marks, v.ended = marks, len(marks) == 0
			if len(marks) > 0 {
				v.behind = marks[len(marks)-1].Seq
			}
		}
		if len(v.marks) == 0 || v.marks[0].Seq > seq {
			return nil
		}
		v.mark(v.marks[0])
		v.marks = v.marks[1:]
	}
}

func (v *verifier) mark(c Checkpoint) {
	at := c.At.UTC().Format(time.RFC3339)
	switch {
	case c.Seq != v.last.Seq:
		v.fault(c.Seq, Removed, "event %d, which a gateway signed as the end of the chain at %s, is missing", c.Seq, at)
	case !bytes.Equal(c.Hash, v.last.Hash):
		v.fault(c.Seq, Changed, "event %d is not the one that a gateway signed as the end of the chain at %s: the chain was written anew before it", c.Seq, at)
	default:
		if err := c.check(v.roots); err != nil {
			v.fault(c.Seq, Signature, "the signature of the end of the chain at event %d (%s) does not count: %s", c.Seq, at, err)
			return
		}
		v.p.Signed = c.Seq
	}
}

// end looks for what is missing behind the last event.
func (v *verifier) end(ctx context.Context, head Head) error {
	last := v.last.Seq
	if err := v.passMarks(ctx, 1<<62); err != nil {
		return err
	}
	if head.Seq > last {
		v.fault(last+1, Cut, "the chain ends at event %d, but events up to %d were written", last, head.Seq)
	}
	if v.known.Seq > last {
		v.fault(last+1, Cut, "the chain ends at event %d, but an earlier verification saw event %d", last, v.known.Seq)
	}
	now, err := v.store.Head(ctx)
	if err != nil {
		return err
	}
	switch {
	case now.Seq < last:
		v.fault(now.Seq+1, Broken, "events %d to %d stand behind the end of the chain: they were put there", now.Seq+1, last)
	case now.Seq == last && last > 0 && !bytes.Equal(now.Hash, v.last.Hash):
		v.fault(last, HeadWrong, "event %d is not the one with which the chain ended: it was changed or put there", last)
	}
	v.p.Done, v.p.Head = true, v.last
	if last == 0 {
		v.p.Head.Hash = zero
	}
	return v.say()
}

const (
	// signEvery is how many events, and signAfter how much time, lie between two checkpoints at most.
	signEvery = 1000
	signAfter = time.Hour
)

// sign makes a checkpoint of the end of the chain when it is time.
func (l *Log) sign(ctx context.Context, head Head) error {
	if l.o.Identity == nil || head.Seq == 0 {
		return nil
	}
	l.mu.Lock()
	signed, at := l.signed, l.signedAt
	l.mu.Unlock()
	if at.IsZero() { // the first since the start
		last, err := l.o.Store.LastCheckpoint(ctx)
		if err != nil {
			return err
		}
		signed = last
	}
	if head.Seq-signed < signEvery && time.Since(at) < signAfter || head.Seq == signed {
		return nil
	}
	return l.Sign(ctx, head)
}

// Sign makes a checkpoint of an end of the chain.
func (l *Log) Sign(ctx context.Context, head Head) error {
	c := Checkpoint{Head: head, At: time.Now().UTC().Truncate(time.Microsecond)}
	id := l.o.Identity()
	c.Certificate, c.Signature = id.Cert.Raw, ed25519.Sign(id.Key, c.signed())
	if err := l.o.Store.AddCheckpoint(ctx, c); err != nil {
		return err
	}
	l.o.Log.InfoContext(ctx, "the end of the audit log is signed", "head", head.String())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signed, l.signedAt = head.Seq, c.At
	return nil
}

// signed is what the signature is of.
func (c Checkpoint) signed() []byte {
	return []byte(form + " checkpoint\n" + c.String() + "\n" + c.At.UTC().Format(time.RFC3339Nano))
}

// gatewayName stands in the certificate of who may sign.
const gatewayName = "spiffe://formicary/service/api-gateway"

// check says why a signature does not count.
func (c Checkpoint) check(roots *x509.CertPool) error {
	cert, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != gatewayName {
		return fmt.Errorf("its certificate is not that of a gateway")
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || !ed25519.Verify(key, c.signed(), c.Signature) {
		return fmt.Errorf("it is of something else")
	}
	if roots == nil {
		return nil
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("its certificate is not of this colony: %w", err)
	}
	return nil
}
