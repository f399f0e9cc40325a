// Package join lets ants into the colony: one-use tokens, the certificates that they are spent for, their renewal and
// their end.
package join

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pki"
)

const (
	// TokenLife is how long a token may be spent.
	TokenLife = 15 * time.Minute
	// DefaultPool is that of tokens that name none.
	DefaultPool = "default"
	settle      = 2 * time.Second // what follows the end of an ant this soon could not be told from what was before it
)

// Token is what is kept of a token.
type Token struct {
	ID                   uuid.UUID
	Org, Pool, CreatedBy string
	CreatedAt, ExpiresAt time.Time
	UsedBy               string
}

// Identity is an ant that has joined.
type Identity struct {
	Org, Pool string
	Revoked   *time.Time
	NotAfter  time.Time // of its newest certificate
	Shut      bool      // it was shut out so lately that not everybody may know
}

// Store keeps tokens and identities. All times are the database's.
type Store interface {
	AddToken(ctx context.Context, t Token, hash []byte, life time.Duration) (Token, error)
	Tokens(ctx context.Context, org string, every bool) ([]Token, error)
	RemoveToken(ctx context.Context, id uuid.UUID, org string, every bool) (bool, error)
	// Join spends the token of a hash for an ant: issue, which is given what the token says, makes its certificate and says
	// when that ends. Nothing is spent when it fails. It answers false when no token of the hash can be spent or the id belongs
	// to another ant.
	Join(ctx context.Context, hash []byte, antID string, issue func(Token, *Identity, time.Time) (time.Time, error)) (bool, error)
	// Renew is the same without a token; issue is given nil when no ant of the name has joined.
	Renew(ctx context.Context, antID string, issue func(*Identity, time.Time) (time.Time, error)) error
	// Revoke shuts an ant out that is offered to the organisation, or any.
	Revoke(ctx context.Context, antID, org string, every bool) error
	Revoked(ctx context.Context, life time.Duration) (map[string]time.Time, error)
}

// Desk decides.
type Desk struct {
	store     Store
	authority *pki.Authority // nil: no ant joins here
}

// NewDesk returns a desk; without an authority it only shuts out.
func NewDesk(store Store, authority *pki.Authority) *Desk {
	return &Desk{store: store, authority: authority}
}

func (d *Desk) closed() error {
	if d.authority == nil {
		return errs.Precondition("JOIN_CLOSED", "no ant can join: give resource-manager the directory of the colony's authority with FORMICARY_AUTHORITY")
	}
	return nil
}

// Create makes a token and returns its text, which is known to nobody afterwards.
func (d *Desk) Create(ctx context.Context, org, pool, by string) (string, Token, error) {
	if err := d.closed(); err != nil {
		return "", Token{}, err
	}
	if pool == "" {
		pool = DefaultPool
	}
	text := d.authority.JoinToken()
	t, err := d.store.AddToken(ctx, Token{ID: uuid.New(), Org: org, Pool: pool, CreatedBy: by}, hash(text), TokenLife)
	return text, t, err
}

// hash of a token. It is random and long, so that a plain one can be looked up and tells nothing.
func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Issued is what an ant gets.
type Issued struct{ Certificate, Authority []byte }

// Join spends a token. Why one does not count is not told.
func (d *Desk) Join(ctx context.Context, antID, token, pool string, csr []byte) (Issued, error) {
	if err := d.closed(); err != nil {
		return Issued{}, err
	}
	refused := errs.Denied("JOIN_REFUSED", "ant %s is not let in: the token was used, has ended or is for another pool, or the id belongs to another ant", antID)
	if !strings.HasPrefix(token, pki.JoinPrefix) {
		return Issued{}, refused
	}
	key, err := pki.Requested(csr)
	if err != nil {
		return Issued{}, errs.Invalid("CSR_INVALID", "%s", err)
	}
	var out Issued
	ok, err := d.store.Join(ctx, hash(token), antID, func(t Token, was *Identity, now time.Time) (time.Time, error) {
		if pool != "" && pool != t.Pool {
			return time.Time{}, refused
		}
		if was != nil && was.Revoked != nil && now.Sub(*was.Revoked) < settle { // times of certificates are whole seconds
			return time.Time{}, errs.Unavailable("JOIN_AGAIN", "ant %s was shut out a moment ago: join again in %s", antID, settle)
		}
		return d.issue(antID, key, now, &out)
	})
	if err == nil && !ok {
		err = refused
	}
	return out, err
}

// issue signs by the clock of the database, which also says when an ant was shut out.
func (d *Desk) issue(antID string, key ed25519.PublicKey, now time.Time, out *Issued) (time.Time, error) {
	cert, err := d.authority.At(now).Sign(pki.Name{Kind: pki.Ant, ID: antID}, key, pki.AntLife)
	if err != nil {
		return time.Time{}, err
	}
	*out = Issued{Certificate: cert.Raw, Authority: d.authority.Certificate().Raw}
	return cert.NotAfter, nil
}

// Renew issues the next certificate of an ant that has joined.
func (d *Desk) Renew(ctx context.Context, antID string, csr []byte) (Issued, error) {
	if err := d.closed(); err != nil {
		return Issued{}, err
	}
	key, err := pki.Requested(csr)
	if err != nil {
		return Issued{}, errs.Invalid("CSR_INVALID", "%s", err)
	}
	var out Issued
	err = d.store.Renew(ctx, antID, func(id *Identity, now time.Time) (time.Time, error) {
		switch {
		case id == nil || !id.NotAfter.After(now): // it ends when the ant is shut out
			return time.Time{}, errs.Denied("ANT_REVOKED", "ant %s has not joined or was shut out: join with a token", antID)
		case id.NotAfter.Sub(now) > pki.AntLife/2:
			return time.Time{}, errs.Precondition("RENEW_EARLY", "the certificate of ant %s has more than half of its life left", antID)
		}
		return d.issue(antID, key, now, &out)
	})
	return out, err
}

// Tokens lists those of an organisation, or every one.
func (d *Desk) Tokens(ctx context.Context, org string, every bool) ([]Token, error) {
	return d.store.Tokens(ctx, org, every)
}

// Remove ends a token.
func (d *Desk) Remove(ctx context.Context, id uuid.UUID, org string, every bool) error {
	ok, err := d.store.RemoveToken(ctx, id, org, every)
	if err == nil && !ok {
		err = errs.NotFound("JOIN_TOKEN_NOT_FOUND", "there is no join token %s", id)
	}
	return err
}

// Revoke shuts an ant out.
func (d *Desk) Revoke(ctx context.Context, antID, org string, every bool) error {
	return d.store.Revoke(ctx, antID, org, every)
}

// Revoked returns, by ant, when it was shut out, as far as a certificate could still be good.
func (d *Desk) Revoked(ctx context.Context) (map[string]time.Time, error) {
	return d.store.Revoked(ctx, pki.AntLife+time.Hour)
}
