package login

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// Token is a credential for programs.
type Token struct {
	ID    uuid.UUID
	Owner string
	// Org is the only one that it acts in; "" for all of the owner.
	Org  string
	Name string
	// Scopes are patterns of permissions; nil for all that the owner may do.
	Scopes               []string
	CreatedAt, ExpiresAt time.Time
	LastUsedAt           *time.Time
	RevokedAt            *time.Time
}

// The life of tokens, and how many of them a user has at most.
const (
	TokenLife    = 90 * 24 * time.Hour
	MaxTokenLife = 366 * 24 * time.Hour
	maxTokens    = 100
	maxScopes    = 50
	maxTokenName = 100
)

// Tokens keeps tokens.
type Tokens interface {
	// AddToken stores a new one unless the owner has max already (TOO_MANY_TOKENS).
	AddToken(ctx context.Context, t Token, hash []byte, most int) error
	// Token returns one that was not revoked and has not expired, or TOKEN_NOT_FOUND.
	Token(ctx context.Context, id uuid.UUID, now time.Time) (Token, error)
	// Tokens of a user by id, without those that were revoked or have expired.
	Tokens(ctx context.Context, owner string, after uuid.UUID, most int, now time.Time) ([]Token, error)
	// RevokeToken ends one.
	RevokeToken(ctx context.Context, id uuid.UUID, at time.Time) error
}

var scopeForm = regexp.MustCompile(`^(\*|(\*|[a-z][a-z_]*)\.(\*|[a-z][a-z_]*))$`)

// NoToken is the answer for a token that does not exist for the caller.
func NoToken(id string) error { return errs.NotFound("TOKEN_NOT_FOUND", "there is no token %s", id) }

// CreateToken makes a token and returns its secret, which nobody can read again. A token that is made with another one
// can do no more and lives no longer than that: bounds are its scopes (nil for all) and id, if a token makes the call.
func (m *Manager) CreateToken(ctx context.Context, t Token, life time.Duration, by Bounds) (secret string, _ Token, err error) {
	if t.Name == "" || len(t.Name) > maxTokenName {
		return "", t, errs.Invalid("TOKEN_INVALID", "a token has a name of 1 to %d bytes, which says what it is for", maxTokenName)
	}
	if len(t.Scopes) > maxScopes {
		return "", t, errs.Invalid("TOKEN_INVALID", "a token has at most %d scopes", maxScopes)
	}
	for _, scope := range t.Scopes {
		if !scopeForm.MatchString(scope) {
			return "", t, errs.Invalid("TOKEN_INVALID", "%q is no scope: want a permission such as request.submit, request.*, *.read or *", scope)
		}
	}
	if life == 0 {
		life = TokenLife
	}
	if life < time.Minute || life > MaxTokenLife {
		return "", t, errs.Invalid("TOKEN_INVALID", "a token lives between a minute and %d days", MaxTokenLife/(24*time.Hour))
	}
	now := m.now()
	t.ID, t.CreatedAt, t.ExpiresAt = identity.NewID(), now, now.Add(life)
	if by.Token != uuid.Nil {
		if t, err = m.within(ctx, t, by); err != nil {
			return "", t, err
		}
	}
	secret, hash := identity.NewSecret(identity.TokenPrefix)
	return secret, t, m.store.AddToken(ctx, t, hash, maxTokens)
}

// Bounds are those of the token that makes a call; the zero value has none.
type Bounds struct{ Token uuid.UUID }

// within keeps a token inside the one with which it is made.
func (m *Manager) within(ctx context.Context, t Token, by Bounds) (Token, error) {
	from, err := m.store.Token(ctx, by.Token, m.now())
	if err != nil {
		return t, err
	}
	if t.Scopes == nil {
		t.Scopes = from.Scopes
	}
	if from.Scopes != nil {
		for _, scope := range t.Scopes {
			if !slices.ContainsFunc(from.Scopes, func(have string) bool { return access.Covers(have, scope) }) {
				return t, errs.Denied("TOKEN_TOO_WIDE", "the scope %s is more than the token of this call has", scope)
			}
		}
	}
	if from.Org != "" && t.Org != from.Org {
		return t, errs.Denied("TOKEN_TOO_WIDE", "the token of this call acts in %s only, and so do those that it makes", from.Org)
	}
	if t.ExpiresAt.After(from.ExpiresAt) {
		t.ExpiresAt = from.ExpiresAt
	}
	return t, nil
}

// Tokens returns those of a user by id.
func (m *Manager) Tokens(ctx context.Context, owner string, after uuid.UUID, most int) ([]Token, error) {
	return m.store.Tokens(ctx, owner, after, most, m.now())
}

// Token returns one.
func (m *Manager) Token(ctx context.Context, id uuid.UUID) (Token, error) {
	return m.store.Token(ctx, id, m.now())
}

// Revoke ends a token.
func (m *Manager) Revoke(ctx context.Context, id uuid.UUID) error {
	return m.change(m.store.RevokeToken(ctx, id, m.now()))
}
