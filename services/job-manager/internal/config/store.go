package config

import (
	"context"

	"github.com/formicary/formicary/libs/keyring"
)

// Store keeps entries and what is encrypted of them.
type Store interface {
	List(ctx context.Context, p Page) ([]Entry, error)
	Find(ctx context.Context, s Scope, name string) (e Entry, found bool, err error)
	// Save stores an entry whose state is the one that was seen; ok is false when it is another one by now.
	Save(ctx context.Context, w Write) (stored Entry, ok bool, err error)
	// Delete removes an entry with all that is encrypted of it, as Save.
	Delete(ctx context.Context, e Entry) (ok bool, err error)
	// Versions of a secret, newest first.
	Versions(ctx context.Context, of keyring.Place) ([]Version, error)
	Sealed(ctx context.Context, p keyring.Place) (s keyring.Sealed, found bool, err error)
	// Newest returns the newest version of each secret that there is at the spots.
	Newest(ctx context.Context, spots []Spot) ([]Found, error)
	// Params returns the parameters of requests that there are at the places, which have the version 0.
	Params(ctx context.Context, places []keyring.Place) ([]Found, error)
	// Changes is a number that is another one after every change.
	Changes(ctx context.Context) (int64, error)
	// Visible returns the entries of scopes, without secrets' values.
	Visible(ctx context.Context, scopes []Scope) ([]Entry, error)
}

// Vault is the store as the rotation of keys sees it.
type Vault interface {
	// Beside says whether anything is encrypted under another key.
	Beside(ctx context.Context, keyID string) (bool, error)
	// ByKey counts what is encrypted under each key. It reads all of it.
	ByKey(ctx context.Context) (map[string]int64, error)
	// Under returns what is encrypted under a key, in the order of places, after a place.
	Under(ctx context.Context, keyID string, after keyring.Place, limit int) ([]Sealing, error)
	// Rewrap replaces data keys that are still those that were read, by ones under keyID.
	Rewrap(ctx context.Context, keyID string, some []Rewrapped) error
	// Sample returns a few things under each key, others for another salt.
	Sample(ctx context.Context, salt string, each int) ([]Sealing, error)
}

// Page asks for a part of a scope.
type Page struct {
	Scope
	After       string // name
	SecretsOnly bool
	Limit       int
}

// Write is an entry to store.
type Write struct {
	Entry
	Seen int64 // Change of what was there; 0: nothing
	// Sealed is the value of Entry.Version, nil when that is there already.
	Sealed *keyring.Sealed
}

// Spot is where a secret may be.
type Spot struct {
	Scope
	Name string
}

// Found is what was found at the spot or place with the number N.
type Found struct {
	N       int
	Version int
	keyring.Sealed
}

// Sealing is something encrypted and its place; Value may be left out.
type Sealing struct {
	keyring.Place
	keyring.Sealed
}

// Rewrapped is a data key that was encrypted again.
type Rewrapped struct {
	keyring.Place
	Stale, Fresh []byte
}
