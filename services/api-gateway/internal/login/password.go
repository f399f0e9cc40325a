package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/formicary/formicary/libs/errs"
)

// Memory is what a password costs, in KiB, twice: what OWASP asks for argon2id.
const Memory = 19 << 10

const (
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
	saltSize     = 16

	minPassword = 12
	maxPassword = 256
)

// Hasher computes hashes of passwords, few at once: each takes much memory and a processor.
type Hasher struct {
	turn   chan struct{}
	memory uint32
	dummy  string // what is computed for users that have no password
}

// NewHasher returns one that computes atOnce hashes at a time, each with that much memory in KiB.
func NewHasher(atOnce int, memory uint32) *Hasher {
	h := &Hasher{turn: make(chan struct{}, atOnce), memory: memory}
	var key [argonKey]byte
	_, _ = rand.Read(key[:])
	h.dummy = h.encode(key[:saltSize], key[:])
	return h
}

// CheckPassword refuses one that is too easy.
func CheckPassword(password, user string) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return errs.Invalid("PASSWORD_WEAK", "a password has %d to %d bytes", minPassword, maxPassword)
	}
	low := strings.ToLower(password)
	if strings.Contains(low, user) || strings.Count(low, low[:1]) == len(low) || strings.HasPrefix(low, "password") {
		return errs.Invalid("PASSWORD_WEAK", "this password is easily guessed: it must not hold the user's name, be one letter again and again, or begin with password")
	}
	return nil
}

// Hash returns the hash of a password in the PHC form.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // it never fails
	key, err := h.key(ctx, password, salt[:], argonTime, h.memory, argonThreads)
	if err != nil {
		return "", err
	}
	return h.encode(salt[:], key), nil
}

func (h *Hasher) encode(salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, argonTime, argonThreads, b64(salt), b64(key))
}

// Matches says whether the password has the hash. An empty hash matches nothing, after the same work.
func (h *Hasher) Matches(ctx context.Context, password, hash string) (bool, error) {
	has := hash != ""
	if !has {
		hash = h.dummy
	}
	p, err := decode(hash)
	if err != nil {
		return false, err
	}
	if len(password) > maxPassword {
		password, has = password[:maxPassword], false
	}
	key, err := h.key(ctx, password, p.salt, p.time, p.memory, p.threads)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, p.key) == 1 && has, nil
}

func (h *Hasher) key(ctx context.Context, password string, salt []byte, time, memory uint32, threads uint8) ([]byte, error) {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.turn }()
	return argon2.IDKey([]byte(password), salt, time, memory, threads, argonKey), nil
}

type params struct {
	time, memory uint32
	threads      uint8
	salt, key    []byte
}

func decode(hash string) (p params, err error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, fmt.Errorf("read the hash of a password: it is no argon2id of version %d", argon2.Version)
	}
	if _, err = fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return p, fmt.Errorf("read the cost of a password's hash: %w", err)
	}
	if p.salt, err = base64.RawStdEncoding.DecodeString(part[4]); err == nil {
		p.key, err = base64.RawStdEncoding.DecodeString(part[5])
	}
	if err != nil || len(p.key) != argonKey || p.time == 0 || p.threads == 0 {
		return p, fmt.Errorf("read the hash of a password: it is damaged")
	}
	return p, nil
}
