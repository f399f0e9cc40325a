package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Trusting returns the settings of connections to servers that are no part of the colony: they are recognised by what the system
// trusts, and by the certificates in a file, if one is named.
func Trusting(file string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(file) // #nosec G304 -- named by whoever runs the process
	if err != nil {
		return nil, fmt.Errorf("read the certificates to trust: %w", err)
	}
	if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
		conf.RootCAs = x509.NewCertPool()
	}
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return conf, nil
}
