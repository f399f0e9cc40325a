package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"
)

// Pair is a certificate for people's clients, with its chain and a key of any kind, kept by somebody else in PEM files.
type Pair struct {
	w *watched[*tls.Certificate]
}

// OpenPair reads the files. It is an error when the certificate is over.
func OpenPair(cert, key string, log *slog.Logger) (*Pair, error) {
	w, err := watch(log, func() (*tls.Certificate, error) { return readPair(cert, key) }, cert, key)
	if err != nil {
		return nil, err
	}
	return &Pair{w}, nil
}

func readPair(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s and its key %s: %w", cert, key, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("read the certificate %s: %w", cert, err)
		}
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate %s is over since %s", cert, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	return &pair, nil
}

// TLS is the configuration of a server that shows it, the newest at each connection.
func (p *Pair) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12, // what browsers and tools of people speak
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.w.get(), nil },
	}
}
