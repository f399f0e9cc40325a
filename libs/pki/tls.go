package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
)

// Roots returns the certificates of the authorities that are trusted now.
type Roots func() *x509.CertPool

// TLS returns the certificate as TLS wants it.
func (i *Identity) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{i.Cert.Raw}, PrivateKey: i.Key, Leaf: i.Cert}
}

// ServerTLS returns the settings of a server that lets in the parts of the colony of the given kinds, each with its
// certificate. Every connection is judged by what source and roots say when it begins.
func ServerTLS(source Source, roots Roots, kinds ...Kind) *tls.Config {
	return serverTLS(source, roots, tls.RequireAndVerifyClientCert, kinds)
}

// OpenTLS is ServerTLS for a server that is also spoken to by those who have no certificate yet. What they may ask is to be
// decided per call.
func OpenTLS(source Source, roots Roots, kinds ...Kind) *tls.Config {
	return serverTLS(source, roots, tls.VerifyClientCertIfGiven, kinds)
}

func serverTLS(source Source, roots Roots, auth tls.ClientAuthType, kinds []Kind) *tls.Config {
	one := func() *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, ClientAuth: auth, ClientCAs: roots(), SessionTicketsDisabled: true,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return source().TLS(), nil },
			VerifyConnection: func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 {
					return nil // where it is required the handshake has failed before
				}
				name, err := NameOf(s.PeerCertificates[0])
				if err == nil && !slices.Contains(kinds, name.Kind) {
					err = fmt.Errorf("%s is not let in here, only %v", name, kinds)
				}
				return err
			},
		}
	}
	conf := one()
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return one(), nil }
	return conf
}

// ClientTLS returns the settings of the next connection to a service: whatever its address, it must prove its name. Without
// a source the client has no certificate.
func ClientTLS(source Source, roots Roots, service string) *tls.Config {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, RootCAs: roots(), ServerName: service}
	if source != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return source().TLS(), nil }
	}
	return conf
}
