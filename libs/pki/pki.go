// Package pki names the parts of a colony by certificates: an authority that issues them, identities that hold one with
// its key, and the TLS configurations of both sides of a connection. Every key is Ed25519; the name stands in a SAN of
// the form spiffe://formicary/service/NAME or spiffe://formicary/ant/ID.
package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Kind of a part.
type Kind string

// The kinds.
const (
	Service Kind = "service"
	Ant     Kind = "ant"
)

// Name of a part of the colony.
type Name struct {
	Kind Kind
	ID   string
}

const (
	scheme = "spiffe"
	domain = "formicary"
)

// URI returns the name as it stands in certificates.
func (n Name) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: domain, Path: "/" + string(n.Kind) + "/" + n.ID}
}

func (n Name) String() string { return n.URI().String() }

// ParseName reads a URI.
func ParseName(text string) (Name, error) {
	rest, ok := strings.CutPrefix(text, scheme+"://"+domain+"/")
	kind, id, both := strings.Cut(rest, "/")
	if !ok || !both || id == "" || strings.ContainsAny(id, "/?#%") || Kind(kind) != Service && Kind(kind) != Ant {
		return Name{}, fmt.Errorf("%q names no part of a colony", text)
	}
	return Name{Kind: Kind(kind), ID: id}, nil
}

// NameOf returns whom a certificate names: exactly one, or nobody.
func NameOf(cert *x509.Certificate) (Name, error) {
	if len(cert.URIs) != 1 {
		return Name{}, fmt.Errorf("a certificate names %d parts of the colony, want one", len(cert.URIs))
	}
	return ParseName(cert.URIs[0].String())
}

// Identity is a certificate with its key.
type Identity struct {
	Name Name
	Cert *x509.Certificate
	Key  ed25519.PrivateKey
}

// Source returns the identity that counts now; it changes when a certificate is renewed.
type Source func() *Identity

// Fixed returns a source of one identity.
func Fixed(id *Identity) Source { return func() *Identity { return id } }

// Authority issues certificates.
type Authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
	now  func() time.Time
}

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	skew          = 5 * time.Minute // by which clocks may differ
	certFile      = "ca.crt"
	keyFile       = "ca.key"
)

// NewAuthority returns an authority that nobody has seen before, for now.
func NewAuthority() (*Authority, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of an authority: %w", err)
	}
	a := &Authority{key: key, now: time.Now}
	template := authorityTemplate(a.now())
	raw, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		return nil, fmt.Errorf("read the authority just made: %w", err)
	}
	return a, nil
}

func authorityTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Formicary authority"}, NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// OpenAuthority returns the authority of a directory; it is made when there is none.
func OpenAuthority(dir string) (*Authority, error) {
	cert, err := readPEM(filepath.Join(dir, certFile), "CERTIFICATE")
	if errors.Is(err, os.ErrNotExist) {
		return makeAuthority(dir)
	}
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("read the authority in %s: %w", dir, err)
	}
	if public, ok := parsed.PublicKey.(ed25519.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, fmt.Errorf("the key in %s is not that of %s", filepath.Join(dir, keyFile), certFile)
	}
	return &Authority{cert: parsed, key: key, now: time.Now}, nil
}

func makeAuthority(dir string) (*Authority, error) {
	a, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the authority: %w", err)
	}
	// The key first: a directory with a certificate is whole.
	if err := writeKey(filepath.Join(dir, keyFile), a.key); err != nil {
		return nil, err
	}
	return a, writePEM(filepath.Join(dir, certFile), "CERTIFICATE", a.cert.Raw, 0o644)
}

// Certificate of the authority itself.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Roots returns the pool that trusts this authority and nobody else.
func (a *Authority) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return roots
}

// Sign issues a certificate for a public key. hosts are what a client may call the part: names and addresses.
func (a *Authority) Sign(name Name, public ed25519.PublicKey, life time.Duration, hosts ...string) (*x509.Certificate, error) {
	if _, err := ParseName(name.String()); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name.ID}, NotBefore: a.now().Add(-skew), NotAfter: a.now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{name.URI()},
	}
	if name.Kind == Service { // nothing connects to an ant
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{name.ID}
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, host)
			}
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", name, err)
	}
	return x509.ParseCertificate(raw)
}

// At returns the authority with another clock, which says when what it signs was issued.
func (a *Authority) At(now time.Time) *Authority {
	at := *a
	at.now = func() time.Time { return now }
	return &at
}

// IssuedAt returns when an authority of this package issued a certificate, to the second.
func IssuedAt(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(skew) }

// Issue makes a key and its certificate.
func (a *Authority) Issue(name Name, life time.Duration, hosts ...string) (*Identity, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	cert, err := a.Sign(name, public, life, hosts...)
	if err != nil {
		return nil, err
	}
	return &Identity{Name: name, Cert: cert, Key: key}, nil
}

// serial returns a random number, so that nobody can guess the next one.
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic("no randomness: " + err.Error()) // crypto/rand ends the process itself before it fails
	}
	return n
}

func readPEM(path, kind string) ([]byte, error) {
	raw, err := os.ReadFile(path) // #nosec G304 -- named by whoever runs the process
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s in PEM", path, strings.ToLower(kind))
	}
	return block.Bytes, nil
}

func readKey(path string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by other users: chmod 600 %s", path, path)
	}
	raw, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of another kind, want Ed25519", path)
	}
	return key, nil
}

func writeKey(path string, key ed25519.PrivateKey) error {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	return writePEM(path, "PRIVATE KEY", raw, 0o600)
}

func writePEM(path, kind string, raw []byte, mode os.FileMode) error {
	return replace(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), mode)
}

// replace replaces a file at once.
func replace(path string, content []byte, mode os.FileMode) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
