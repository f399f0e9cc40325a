package pki

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// look is how often files are looked at again at most.
const look = time.Second

// watched is what was read from files; it is read again when one of them changes. What cannot be used leaves what was there.
type watched[T any] struct {
	paths []string
	read  func() (T, error)
	log   *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  string
	value  T
}

func watch[T any](log *slog.Logger, read func() (T, error), paths ...string) (*watched[T], error) {
	w := &watched[T]{paths: paths, read: read, log: log, looked: time.Now(), stamp: stamp(paths)}
	var err error
	w.value, err = read()
	return w, err
}

func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.looked) < look {
		return w.value
	}
	w.looked = time.Now()
	now := stamp(w.paths)
	if now == w.stamp {
		return w.value
	}
	w.stamp = now
	next, err := w.read()
	if err != nil { // perhaps only half of them is written yet: then they change once more
		w.log.Warn("new certificate files cannot be used; those before stay in use", "files", w.paths, "error", err)
		return w.value
	}
	w.log.Info("certificate files were read again", "files", w.paths)
	w.value = next
	return next
}

// stamp tells versions of files apart.
func stamp(paths []string) string {
	var all bytes.Buffer
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintln(&all, info.Size(), info.ModTime().UnixNano())
		} else {
			fmt.Fprintln(&all, err)
		}
	}
	return all.String()
}

// Files are an identity and the authorities that it trusts, kept by somebody else in PEM files.
type Files struct{ w *watched[filed] }

type filed struct {
	id    *Identity
	roots *x509.CertPool
}

// OpenFiles reads a certificate, its Ed25519 key (PKCS 8, mode 0600) and the certificates of the trusted authorities.
func OpenFiles(cert, key, ca string, log *slog.Logger) (*Files, error) {
	w, err := watch(log, func() (filed, error) { return readFiles(cert, key, ca) }, cert, key, ca)
	if err != nil {
		return nil, err
	}
	return &Files{w}, nil
}

// Source of the identity.
func (f *Files) Source() *Identity { return f.w.get().id }

// Roots that are trusted.
func (f *Files) Roots() *x509.CertPool { return f.w.get().roots }

func readFiles(cert, key, ca string) (filed, error) {
	authorities, err := os.ReadFile(ca) // #nosec G304 -- named by whoever runs the process
	if err != nil {
		return filed{}, fmt.Errorf("read %s: %w", ca, err)
	}
	f := filed{roots: x509.NewCertPool(), id: &Identity{}}
	if !f.roots.AppendCertsFromPEM(authorities) {
		return filed{}, fmt.Errorf("%s holds no certificate in PEM", ca)
	}
	raw, err := readPEM(cert, "CERTIFICATE")
	if err != nil {
		return filed{}, err
	}
	if f.id.Cert, err = x509.ParseCertificate(raw); err != nil {
		return filed{}, fmt.Errorf("read %s: %w", cert, err)
	}
	if f.id.Key, err = readKey(key); err != nil {
		return filed{}, err
	}
	if f.id.Name, err = NameOf(f.id.Cert); err != nil {
		return filed{}, fmt.Errorf("%s: %w: want one URI spiffe://formicary/service/NAME or spiffe://formicary/ant/ID", cert, err)
	}
	if public, ok := f.id.Cert.PublicKey.(ed25519.PublicKey); !ok || !public.Equal(f.id.Key.Public()) {
		return filed{}, fmt.Errorf("the key in %s is not that of %s", key, cert)
	}
	_, err = f.id.Cert.Verify(x509.VerifyOptions{Roots: f.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return filed{}, fmt.Errorf("%s is not good under %s: %w", cert, ca, err)
	}
	return f, nil
}

// WriteFiles writes what OpenFiles reads into a directory: tls.crt, tls.key and ca.crt.
func WriteFiles(dir string, id *Identity, authorities ...*x509.Certificate) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of a certificate: %w", err)
	}
	var all bytes.Buffer
	for _, a := range authorities {
		if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: a.Raw}); err != nil {
			return fmt.Errorf("encode a certificate: %w", err)
		}
	}
	ca := filepath.Join(dir, certFile)
	if err := replace(ca, all.Bytes(), 0o644); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, "tls.key"), id.Key); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, "tls.crt"), "CERTIFICATE", id.Cert.Raw, 0o644)
}

// OpenDir is OpenFiles for what WriteFiles wrote.
func OpenDir(dir string, log *slog.Logger) (*Files, error) {
	return OpenFiles(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, certFile), log)
}
