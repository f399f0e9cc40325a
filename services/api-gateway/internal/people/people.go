// Package people says whom a credential belongs to and what that person may do where: the answer of the gateway to
// whoever calls.
//
// What is known of a credential is kept for Keep, so that a call does not cost a query, and forgotten at once by the replica
// that changes somebody's rights: a credential that has ended, a user who is disabled and a member who is no more are out
// within Keep everywhere.
package people

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

const (
	// Keep is how long what is known of a credential counts.
	Keep = 2 * time.Second
	// kept is of how many credentials something is known.
	kept = 10_000
	// loadTime bounds a query that several calls may wait for.
	loadTime = 5 * time.Second
)

// Facts are what a credential that counts proves.
type Facts struct {
	// ID of the session or token.
	ID      uuid.UUID
	Session bool
	User    string
	// PlatformRole is "" for most.
	PlatformRole, DefaultOrg string
	// Org is the only one that a token acts in; "" for all of the user.
	Org string
	// Scopes of a token; nil for all that the user may do.
	Scopes []string
	// Members are the memberships, by org.
	Members   map[string]Membership
	ExpiresAt time.Time
}

// Membership is what somebody is in an org.
type Membership struct {
	Role   string
	Groups []string
}

// Store looks credentials up.
type Store interface {
	// Session returns the facts of the session with that hash, Token those of a token; CREDENTIAL_INVALID when it does not count.
	Session(ctx context.Context, hash []byte, now time.Time) (Facts, error)
	Token(ctx context.Context, hash []byte, now time.Time) (Facts, error)
	// Org fails with ORG_NOT_FOUND.
	Org(ctx context.Context, id string) (identity.Org, error)
	// Touch stores when sessions and tokens were last used.
	Touch(ctx context.Context, sessions, tokens map[uuid.UUID]time.Time) error
}

// People knows callers by their credentials.
type People struct {
	store  Store
	now    func() time.Time
	known  *lru.Cache[string, entry]
	flight singleflight.Group
	used   *used
}

type entry struct {
	caller access.Caller
	facts  Facts
	at     time.Time
}

// New returns people that nothing is known of yet.
func New(store Store, now func() time.Time) *People {
	known, err := lru.New[string, entry](kept)
	if err != nil {
		panic(err) // the size is wrong
	}
	return &People{store: store, now: now, known: known, used: newUsed()}
}

// Unknown is the answer for every credential that does not count.
func Unknown() error {
	return errs.Unauthenticated("CREDENTIAL_INVALID", "this token or session is not known here, or does not count any more: log in again")
}

// Forget makes the next calls ask the database again.
func (p *People) Forget() { p.known.Purge() }

// Authenticate implements gate.People. Who brings no credential is nobody.
func (p *People) Authenticate(ctx context.Context, c gate.Credential) (access.Caller, error) {
	if c.Empty() {
		return access.Caller{}, nil
	}
	return p.Find(ctx, c.Secret(), c.Org)
}

// Find returns whom a credential belongs to, acting in an org: its own choice when org is empty.
func (p *People) Find(ctx context.Context, secret, org string) (access.Caller, error) {
	hash := identity.HashOf(secret)
	key := string(hash) + org
	e, ok := p.known.Get(key)
	if now := p.now(); !ok || now.Sub(e.at) >= Keep {
		var err error
		if e, err = p.load(ctx, key, secret, org, hash); err != nil {
			return access.Caller{}, err
		}
	}
	if !e.facts.ExpiresAt.After(p.now()) {
		return access.Caller{}, Unknown()
	}
	p.used.mark(e.facts, p.now())
	return e.caller, nil
}

// load asks the database once for all that wait for the same.
func (p *People) load(ctx context.Context, key, secret, org string, hash []byte) (entry, error) {
	done := p.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTime)
		defer cancel()
		e := entry{at: p.now()}
		var err error
		switch {
		case strings.HasPrefix(secret, identity.SessionPrefix):
			e.facts, err = p.store.Session(ctx, hash, e.at)
		case strings.HasPrefix(secret, identity.TokenPrefix):
			e.facts, err = p.store.Token(ctx, hash, e.at)
		default:
			err = Unknown()
		}
		if err == nil {
			e.caller, err = p.choose(ctx, e.facts, org)
		}
		if err == nil {
			p.known.Add(key, e)
		}
		return e, err
	})
	select {
	case r := <-done:
		e, _ := r.Val.(entry)
		return e, r.Err
	case <-ctx.Done():
		return entry{}, ctx.Err()
	}
}

// choose says as what somebody acts in an org. Who is no member of it learns no more than that there is no such org.
func (p *People) choose(ctx context.Context, f Facts, asked string) (access.Caller, error) {
	c := access.Caller{Kind: access.Person, Org: asked, User: f.User, Scopes: f.Scopes, Credential: f.ID.String()}
	if f.Org != "" && asked != "" && asked != f.Org {
		return c, identity.NoOrg(asked)
	}
	if asked == "" {
		c.Org = f.own()
	}
	m, member := f.Members[c.Org]
	switch {
	case member:
		c.Roles = append([]string{m.Role}, m.Groups...)
	case c.Org == "":
	case f.PlatformRole == "":
		return c, identity.NoOrg(c.Org)
	default: // those of the platform act everywhere
		if _, err := p.store.Org(ctx, c.Org); err != nil {
			return c, err
		}
	}
	if f.PlatformRole != "" {
		c.Roles = append(c.Roles, f.PlatformRole)
	}
	return c, nil
}

// own is the org that counts when none is named; "" for somebody who is in none.
func (f Facts) own() string {
	_, member := f.Members[f.DefaultOrg]
	switch {
	case f.Org != "":
		return f.Org
	case f.DefaultOrg != "" && (member || f.PlatformRole != ""):
		return f.DefaultOrg
	case len(f.Members) > 0:
		return slices.Min(slices.Collect(maps.Keys(f.Members)))
	case f.PlatformRole != "":
		return identity.DefaultOrg
	}
	return ""
}

// used remembers which credentials were used since it was last stored.
type used struct {
	mu       sync.Mutex
	sessions map[uuid.UUID]time.Time
	tokens   map[uuid.UUID]time.Time
	stored   map[uuid.UUID]time.Time
}

func newUsed() *used {
	return &used{sessions: map[uuid.UUID]time.Time{}, tokens: map[uuid.UUID]time.Time{}, stored: map[uuid.UUID]time.Time{}}
}

func (u *used) mark(f Facts, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.stored[f.ID]) < touchEvery {
		return
	}
	if f.Session {
		u.sessions[f.ID] = now
	} else {
		u.tokens[f.ID] = now
	}
}

// touchEvery is how often the last use of a credential is stored at most.
const touchEvery = time.Minute

// Touch stores what was used since the last time.
func (p *People) Touch(ctx context.Context) error {
	now := p.now()
	u := p.used
	u.mu.Lock()
	sessions, tokens := u.sessions, u.tokens
	u.sessions, u.tokens = map[uuid.UUID]time.Time{}, map[uuid.UUID]time.Time{}
	maps.DeleteFunc(u.stored, func(_ uuid.UUID, at time.Time) bool { return now.Sub(at) >= touchEvery })
	for _, m := range []map[uuid.UUID]time.Time{sessions, tokens} {
		for id := range m {
			u.stored[id] = now
		}
	}
	u.mu.Unlock()
	if len(sessions)+len(tokens) == 0 {
		return nil
	}
	return p.store.Touch(ctx, sessions, tokens)
}
