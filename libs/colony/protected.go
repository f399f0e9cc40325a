package colony

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Protected reports everything that keeps a process from running where others could reach what it uses: stores that it would reach without
// encryption or without a credential, or with one that everybody knows, and a key that is not its own. A colony for development is
// exempt: its stores are those of one machine.
func (c Colony) Protected(process string) error {
	if c.Development {
		return nil
	}
	faults := c.natsFaults()
	switch process {
	case "scheduler":
		faults = append(faults, c.etcdFaults()...)
	case "supervisor":
		faults = append(faults, c.s3Faults()...)
	}
	if process != "scheduler" && process != "ant" {
		faults = append(faults, c.postgresFaults(process)...)
	}
	if c.Authority != "" && process != "resource-manager" {
		faults = append(faults, fmt.Errorf("FORMICARY_AUTHORITY: the directory holds the key that makes everybody's certificate: give %s its own with --tls-cert, --tls-key and --tls-ca", process))
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("this is not safe where others reach it (FORMICARY_DEVELOPMENT=true allows it on a machine of your own):\n%w", errors.Join(faults...))
}

func (c Colony) natsFaults() (faults []error) {
	for address := range strings.SplitSeq(c.NATS, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		switch {
		case err != nil || u.Scheme != "tls":
			faults = append(faults, errors.New("FORMICARY_NATS_URL: NATS is reached without TLS: want tls://USER:PASSWORD@HOST:PORT"))
		case u.User == nil:
			faults = append(faults, errors.New("FORMICARY_NATS_URL: NATS is told no user: want tls://USER:PASSWORD@HOST:PORT"))
		}
	}
	return faults
}

func (c Colony) etcdFaults() (faults []error) {
	if slices.ContainsFunc(c.Etcd, func(e string) bool { return !strings.HasPrefix(e, "https://") }) {
		faults = append(faults, errors.New("FORMICARY_ETCD: etcd is reached without TLS: want https://HOST:PORT"))
	}
	if c.EtcdUser == "" || c.EtcdPassword == "" {
		faults = append(faults, errors.New("FORMICARY_ETCD_USER, FORMICARY_ETCD_PASSWORD: etcd is told no user"))
	}
	return faults
}

func (c Colony) s3Faults() (faults []error) {
	if !c.S3.Secure {
		faults = append(faults, errors.New("FORMICARY_S3_ENDPOINT: the object store is reached without TLS: want https://HOST:PORT"))
	}
	if known := []string{"", "minioadmin", "minio", "minio123", "rustfsadmin", "admin", "password", "test"}; slices.Contains(known, c.S3.AccessKey) || slices.Contains(known, c.S3.SecretKey) {
		faults = append(faults, errors.New("FORMICARY_S3_ACCESS_KEY, FORMICARY_S3_SECRET_KEY: the object store is told no keys, or those that everybody knows"))
	}
	return faults
}

func (c Colony) postgresFaults(process string) (faults []error) {
	name := "FORMICARY_POSTGRES_" + strings.ToUpper(strings.ReplaceAll(process, "-", "_"))
	conf, err := pgconn.ParseConfig(c.Postgres[process])
	if c.Postgres[process] == "" || err != nil {
		return []error{fmt.Errorf("%s is no address of PostgreSQL", name)} // the error would quote it
	}
	if strings.HasPrefix(conf.Host, "/") { // a socket of this machine
		return nil
	}
	open := func(fallback *pgconn.FallbackConfig) bool {
		return fallback.TLSConfig == nil || fallback.TLSConfig.InsecureSkipVerify
	}
	if conf.TLSConfig == nil || conf.TLSConfig.InsecureSkipVerify || slices.ContainsFunc(conf.Fallbacks, open) {
		faults = append(faults, fmt.Errorf("%s: PostgreSQL is not recognised by its certificate: want sslmode=verify-full, and sslrootcert where the system does not trust it", name))
	}
	if conf.Password == "" && (conf.TLSConfig == nil || len(conf.TLSConfig.Certificates) == 0) {
		faults = append(faults, fmt.Errorf("%s: PostgreSQL is told no password and no certificate", name))
	}
	return faults
}
