package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// Keys wraps data keys with keys that do not leave it.
type Keys interface {
	// Primary is the id of the key that Wrap uses.
	Primary() string
	// Wrap encrypts a data key with the primary key. It authenticates place, and the id of the key with it.
	Wrap(ctx context.Context, dataKey, place []byte) (id string, wrapped []byte, err error)
	// Unwrap decrypts what Wrap has returned. An error is ErrNoKey when the ring does not have the key (any more), and ErrForeign
	// when it is not what Wrap returned for this place.
	Unwrap(ctx context.Context, id string, wrapped, place []byte) ([]byte, error)
	// Digest is a keyed hash that stays the same while keys are rotated.
	Digest(text []byte) []byte
}

// The errors of what cannot be opened.
var (
	ErrNoKey   = errors.New("the key ring does not have the key")
	ErrForeign = errors.New("it was not encrypted for this place, or it was changed")
)

// Place is where a value belongs.
type Place struct {
	Org, Scope, Name string
	Version          int
}

// bytes is different for different places, whatever their texts hold.
func (p Place) bytes() []byte {
	var out []byte
	for _, text := range [...]string{p.Org, p.Scope, p.Name} {
		out = append(binary.AppendUvarint(out, uint64(len(text))), text...)
	}
	return binary.AppendVarint(out, int64(p.Version))
}

// Sealed is an encrypted value.
type Sealed struct {
	// KeyID of the key of the ring that DataKey is encrypted with.
	KeyID          string
	DataKey, Value []byte
}

const keyBytes = 32 // AES-256

// Seal encrypts a value for a place.
func Seal(ctx context.Context, keys Keys, p Place, value []byte) (Sealed, error) {
	dataKey := make([]byte, keyBytes)
	_, _ = rand.Read(dataKey) // it never fails
	defer clear(dataKey)
	place := p.bytes()
	sealed, err := encrypt(dataKey, value, place)
	if err != nil {
		return Sealed{}, err
	}
	id, wrapped, err := keys.Wrap(ctx, dataKey, place)
	if err != nil {
		return Sealed{}, fmt.Errorf("encrypt a data key: %w", err)
	}
	return Sealed{KeyID: id, DataKey: wrapped, Value: sealed}, nil
}

// Open decrypts what Seal returned for the same place.
func Open(ctx context.Context, keys Keys, p Place, s Sealed) ([]byte, error) {
	place := p.bytes()
	dataKey, err := keys.Unwrap(ctx, s.KeyID, s.DataKey, place)
	if err != nil {
		return nil, err
	}
	defer clear(dataKey)
	return decrypt(dataKey, s.Value, place)
}

// Rewrap encrypts the data key with the primary key; the value stays as it is.
func Rewrap(ctx context.Context, keys Keys, p Place, s Sealed) (Sealed, error) {
	place := p.bytes()
	dataKey, err := keys.Unwrap(ctx, s.KeyID, s.DataKey, place)
	if err != nil {
		return Sealed{}, err
	}
	defer clear(dataKey)
	if s.KeyID, s.DataKey, err = keys.Wrap(ctx, dataKey, place); err != nil {
		return Sealed{}, fmt.Errorf("encrypt a data key: %w", err)
	}
	return s, nil
}

// encrypt puts a random nonce before the text: keys of the ring encrypt few enough data keys for that (2^32).
func encrypt(key, text, place []byte) ([]byte, error) {
	a, err := sealer(key)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, text, place), nil //nolint:gosec // G407: this AEAD makes its nonces itself
}

func decrypt(key, sealed, place []byte) ([]byte, error) {
	a, err := sealer(key)
	if err != nil {
		return nil, err
	}
	text, err := a.Open(nil, nil, sealed, place)
	if err != nil {
		return nil, ErrForeign
	}
	return text, nil
}

func sealer(key []byte) (cipher.AEAD, error) {
	if len(key) != keyBytes {
		return nil, ErrForeign
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use a key: %w", err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use a key: %w", err)
	}
	return a, nil
}
