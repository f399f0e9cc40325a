package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// The lives of logins that wait.
const (
	DeviceLife   = 10 * time.Minute
	PollInterval = 3 * time.Second
	GrantLife    = time.Minute
)

// Pending is the login of a command line that waits for somebody.
type Pending struct {
	// Challenge is that of PKCE (S256), for logins in the browser.
	Challenge string
	// User is who confirmed it; "" while nobody has.
	User           string
	Denied         bool
	Address, Agent string
	CreatedAt      time.Time
	ExpiresAt      time.Time
}

// Pendings keeps logins that wait.
type Pendings interface {
	// AddPending stores one; userHash is nil for those that nobody confirms by a code.
	AddPending(ctx context.Context, hash, userHash []byte, p Pending) error
	// Decide finds the one that waits under the hash of a user's code and settles it. It fails with LOGIN_CODE_INVALID.
	Decide(ctx context.Context, userHash []byte, user string, approve bool, now time.Time) (Pending, error)
	// UserPending returns the one that waits under the hash of a user's code, or LOGIN_CODE_INVALID.
	UserPending(ctx context.Context, userHash []byte, now time.Time) (Pending, error)
	// TakePending returns one, and removes it when keep says no.
	TakePending(ctx context.Context, hash []byte, now time.Time, keep func(Pending) bool) (Pending, error)
}

// BadLoginCode is the answer for every code that does not count.
func BadLoginCode() error {
	return errs.NotFound("LOGIN_CODE_INVALID", "the code is wrong, was used or has expired: begin the login again")
}

// letters of the codes that people type: no vowels, so that no words come about, and nothing that looks like another.
const letters = "BCDFGHJKLMNPQRSTVWXZ"

// newUserCode returns 8 letters, 34 bits: few enough to type, enough for ten minutes and an attempt each second.
func newUserCode() string {
	var b strings.Builder
	var raw [1]byte
	for b.Len() < 9 {
		if b.Len() == 4 {
			b.WriteByte('-')
		}
		if _, _ = rand.Read(raw[:]); int(raw[0]) < len(letters)*(256/len(letters)) { // so that all are as likely
			b.WriteByte(letters[int(raw[0])%len(letters)])
		}
	}
	return b.String()
}

// userCode is how a code counts that somebody typed.
func userCode(typed string) []byte {
	return identity.HashOf(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(typed)))
}

// BeginDevice begins a login that somebody confirms elsewhere by a code.
func (m *Manager) BeginDevice(ctx context.Context, from From) (secret, code string, expires time.Time, err error) {
	// It counts as an attempt also when all goes well, so that nobody fills the table.
	if _, err := m.guard.attempt(ctx, "", from.Address); err != nil {
		return "", "", expires, err
	}
	code = newUserCode()
	secret, hash := identity.NewSecret(identity.LoginPrefix)
	now := m.now()
	expires = now.Add(DeviceLife)
	return secret, code, expires, m.store.AddPending(ctx, hash, userCode(code), Pending{
		Address: from.Address, Agent: from.Agent[:min(len(from.Agent), maxAgent)], CreatedAt: now, ExpiresAt: expires,
	})
}

// Device returns the login that shows the code, for user, who is logged in and may confirm it.
func (m *Manager) Device(ctx context.Context, code, user, address string) (Pending, error) {
	right, err := m.guard.attempt(ctx, account(user)+" approving", address)
	if err != nil {
		return Pending{}, err
	}
	p, err := m.store.UserPending(ctx, userCode(code), m.now())
	if err != nil {
		return Pending{}, err
	}
	return p, right(ctx)
}

// Approve confirms or denies the login that shows the code, as user, who is logged in.
func (m *Manager) Approve(ctx context.Context, code, user string, approve bool, address string) (Pending, error) {
	right, err := m.guard.attempt(ctx, account(user)+" approving", address)
	if err != nil {
		return Pending{}, err
	}
	p, err := m.store.Decide(ctx, userCode(code), user, approve, m.now())
	if err != nil {
		return Pending{}, err
	}
	return p, right(ctx)
}

// PollDevice says whether a login was confirmed, and opens its session once.
func (m *Manager) PollDevice(ctx context.Context, secret string, from From) (session string, s Session, pending bool, err error) {
	p, err := m.store.TakePending(ctx, identity.HashOf(secret), m.now(), func(p Pending) bool { return p.User == "" && !p.Denied })
	switch {
	case err != nil:
		return "", s, false, err
	case p.Denied:
		return "", s, false, errs.Denied("LOGIN_DENIED", "the login was denied")
	case p.Challenge != "":
		return "", s, false, BadLoginCode()
	case p.User == "":
		return "", s, true, nil
	}
	session, s, err = m.open(ctx, p.User, "device", from)
	return session, s, false, err
}

// Grant returns a code by which the command line that began a login in the browser gets its session: whoever knows what
// challenge was made of.
func (m *Manager) Grant(ctx context.Context, user, challenge string, from From) (code string, err error) {
	if raw, err := base64.RawURLEncoding.DecodeString(challenge); err != nil || len(raw) != sha256.Size {
		return "", errs.Invalid("LOGIN_INVALID", "code_challenge is none of S256")
	}
	code, hash := identity.NewSecret(identity.LoginPrefix)
	now := m.now()
	return code, m.store.AddPending(ctx, hash, nil, Pending{
		Challenge: challenge, User: user, Address: from.Address, Agent: from.Agent[:min(len(from.Agent), maxAgent)], CreatedAt: now, ExpiresAt: now.Add(GrantLife),
	})
}

// Exchange gives the session for a code of Grant. A code counts once, also when the verifier is wrong.
func (m *Manager) Exchange(ctx context.Context, code, verifier string, from From) (session string, s Session, err error) {
	right, err := m.guard.attempt(ctx, "", from.Address)
	if err != nil {
		return "", s, err
	}
	p, err := m.store.TakePending(ctx, identity.HashOf(code), m.now(), func(p Pending) bool { return p.Challenge == "" })
	if err != nil {
		return "", s, err
	}
	sum := sha256.Sum256([]byte(verifier))
	if p.Challenge == "" || subtle.ConstantTimeCompare([]byte(p.Challenge), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) != 1 {
		return "", s, BadLoginCode()
	}
	if err := right(ctx); err != nil {
		return "", s, err
	}
	return m.open(ctx, p.User, "browser", from)
}

// open is Open for somebody who proved who it is a while ago.
func (m *Manager) open(ctx context.Context, user, method string, from From) (string, Session, error) {
	u, err := m.store.User(ctx, user)
	if err != nil {
		return "", Session{}, err
	}
	if u.DisabledAt != nil {
		return "", Session{}, BadLoginCode()
	}
	from.Kind = CommandLine
	return m.Open(ctx, user, method, from)
}
