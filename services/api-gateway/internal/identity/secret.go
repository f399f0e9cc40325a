package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// What credentials begin with, so that people and scanners know them.
const (
	SessionPrefix    = "fmc_ses_"
	TokenPrefix      = "fmc_pat_" // #nosec G101 -- a prefix
	InvitationPrefix = "fmc_inv_"
	BootstrapPrefix  = "fmc_boot_"
	LoginPrefix      = "fmc_log_"
)

// NewSecret returns a credential with 256 random bits and its hash, which is all that is stored. A fast hash is enough
// for what nobody can guess.
func NewSecret(prefix string) (plain string, hash []byte) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails
	plain = prefix + base64.RawURLEncoding.EncodeToString(raw[:])
	return plain, HashOf(plain)
}

// HashOf returns the hash under which a credential is stored.
func HashOf(plain string) []byte {
	sum := sha256.Sum256([]byte(plain))
	return sum[:]
}
