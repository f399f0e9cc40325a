package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// AntLife is how long certificates of ants are good for.
const AntLife = 24 * time.Hour

// Request returns a PKCS 10 request in DER for a key. Whoever issues the certificate decides what stands in it.
func Request(key ed25519.PrivateKey) ([]byte, error) {
	raw, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return raw, nil
}

// Requested returns the key of a request, which proves that it is the requester's.
func Requested(csr []byte) (ed25519.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("read a certificate request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed with its key: %w", err)
	}
	key, ok := r.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the certificate request has a key of another kind, want Ed25519")
	}
	return key, nil
}

// JoinPrefix begins tokens with which ants join. The key of the colony's authority follows in hex, so that an ant knows whom to trust,
// then a secret.
const JoinPrefix = "fmc_join_"

const joinSecret = 32 // bytes

// JoinToken returns a new token of the authority.
func (a *Authority) JoinToken() string {
	secret := make([]byte, joinSecret)
	_, _ = rand.Read(secret) // never fails
	return JoinPrefix + hex.EncodeToString(a.key.Public().(ed25519.PublicKey)) + "_" + hex.EncodeToString(secret)
}

// JoinRoots reads from a token whom to trust.
func JoinRoots(token string) (Roots, error) {
	text, ok := strings.CutPrefix(token, JoinPrefix)
	text, _, both := strings.Cut(text, "_")
	key, err := hex.DecodeString(text)
	if !ok || !both || err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("this is no token of `formicary ant token create`")
	}
	return TrustKey(key)
}

// TrustKey returns roots that trust what the authority of a key signs, for who knows nothing of it but the key: the
// certificate of an authority in the pool only carries its name and its key, whoever signed it.
func TrustKey(authority ed25519.PublicKey) (Roots, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := authorityTemplate(time.Now())
	by := &x509.Certificate{Subject: pkix.Name{CommonName: "nobody"}, PublicKey: public}
	raw, err := x509.CreateCertificate(rand.Reader, template, by, authority, key)
	if err != nil {
		return nil, fmt.Errorf("trust the key of an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("trust the key of an authority: %w", err)
	}
	return func() *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AddCert(cert)
		return pool
	}, nil
}

// Received makes an identity of an answer to a request: the certificate must be of the key and the name, and good under the
// authorities that came with it.
func Received(name Name, key ed25519.PrivateKey, certificate []byte, authorities [][]byte) (*Identity, []*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate received: %w", err)
	}
	roots, all := x509.NewCertPool(), []*x509.Certificate{}
	for _, raw := range authorities {
		a, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("read an authority received: %w", err)
		}
		roots.AddCert(a)
		all = append(all, a)
	}
	if got, err := NameOf(cert); err != nil || got != name {
		return nil, nil, fmt.Errorf("the certificate received is of %s, want %s", got, name)
	}
	if public, ok := cert.PublicKey.(ed25519.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, nil, errors.New("the certificate received is of another key")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil, nil, fmt.Errorf("the certificate received: %w", err)
	}
	return &Identity{Name: name, Cert: cert, Key: key}, all, nil
}
