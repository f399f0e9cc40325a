// Package colony is the file colony.json: where the parts of a running colony are. `formicary up` writes it, services
// and clients that run as processes of their own read it.
package colony

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// S3 says how to reach the object store.
type S3 struct {
	Endpoint  string `json:"endpoint"` // host:port
	Bucket    string `json:"bucket"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Secure    bool   `json:"secure"` // TLS
}

// Colony is the content of the file. Empty addresses mean that the part is not exposed.
type Colony struct {
	PID      int               `json:"pid"` // of the process that wrote the file
	DataDir  string            `json:"data_dir"`
	HTTP     string            `json:"http"`            // REST and streams, host:port
	GRPC     string            `json:"grpc"`            // the gateway's gRPC
	HTTPS    string            `json:"https,omitempty"` // the file of the certificate that both show; plain without
	Ops      string            `json:"ops"`             // health and metrics
	NATS     string            `json:"nats,omitempty"`
	Etcd     []string          `json:"etcd,omitempty"`
	Postgres map[string]string `json:"postgres,omitempty"` // service → DSN
	S3       S3                `json:"s3,omitzero"`
	// EtcdUser and EtcdPassword are for a cluster that asks for them. StoresCA is a file of certificates that are trusted beside those of
	// the system when NATS, etcd and the object store speak TLS.
	EtcdUser     string `json:"etcd_user,omitempty"`
	EtcdPassword string `json:"etcd_password,omitempty"`
	StoresCA     string `json:"stores_ca,omitempty"`
	// Development says that the stores are those of one machine, and need no protection from others.
	Development bool `json:"development,omitempty"`
	// KeyRing is the file with the keys that secrets are encrypted with.
	KeyRing string `json:"key_ring,omitempty"`
	// Authority is the directory of the authority that names the services and ants of this colony.
	Authority string            `json:"authority,omitempty"`
	Services  map[string]string `json:"services,omitempty"` // service → gRPC host:port, those of replicas separated by commas
	Ants      map[string]string `json:"ants,omitempty"`     // the same for what ants call
}

// Load reads the file and applies the overrides FORMICARY_NATS_URL, FORMICARY_ETCD (comma-separated), FORMICARY_ETCD_{USER,PASSWORD},
// FORMICARY_STORES_CA, FORMICARY_DEVELOPMENT (true or false), FORMICARY_KEYRING,
// FORMICARY_POSTGRES_<SERVICE>, FORMICARY_<SERVICE>_ADDR, FORMICARY_<SERVICE>_ANTS_ADDR, FORMICARY_AUTHORITY and FORMICARY_S3_{ENDPOINT,BUCKET,ACCESS_KEY,SECRET_KEY};
// SERVICE is the name in capitals with underscores. An empty path gives only what the environment says.
func Load(path string, getenv func(string) string) (Colony, error) {
	c := Colony{}
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("read the colony's addresses (is `formicary up` running with this data directory?): %w", err)
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			return c, fmt.Errorf("read %s: %w", path, err)
		}
	}
	c.override(getenv)
	return c, nil
}

// URL is that of the REST API.
func (c Colony) URL() string {
	if c.HTTPS != "" {
		return "https://" + c.HTTP
	}
	return "http://" + c.HTTP
}

// names are the services that have an address.
var names = [...]string{"api-gateway", "job-manager", "scheduler", "resource-manager", "supervisor"}

// ForAnts are the services that ants call.
func ForAnts() []string { return []string{"resource-manager", "supervisor"} }

func (c *Colony) override(getenv func(string) string) {
	set := func(to *string, key string) {
		if v := getenv("FORMICARY_" + key); v != "" {
			*to = v
		}
	}
	set(&c.HTTP, "HTTP")
	set(&c.GRPC, "GRPC")
	set(&c.Ops, "OPS")
	set(&c.Authority, "AUTHORITY")
	set(&c.NATS, "NATS_URL")
	set(&c.KeyRing, "KEYRING")
	set(&c.EtcdUser, "ETCD_USER")
	set(&c.EtcdPassword, "ETCD_PASSWORD")
	set(&c.StoresCA, "STORES_CA")
	if v := getenv("FORMICARY_DEVELOPMENT"); v != "" {
		c.Development = v == "true"
	}
	set(&c.S3.Endpoint, "S3_ENDPOINT")
	if at, ok := strings.CutPrefix(c.S3.Endpoint, "https://"); ok {
		c.S3.Endpoint, c.S3.Secure = at, true
	}
	set(&c.S3.Bucket, "S3_BUCKET")
	set(&c.S3.AccessKey, "S3_ACCESS_KEY")
	set(&c.S3.SecretKey, "S3_SECRET_KEY")
	if v := getenv("FORMICARY_ETCD"); v != "" {
		c.Etcd = strings.Split(v, ",")
	}
	for _, name := range names {
		key := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if v := getenv("FORMICARY_POSTGRES_" + key); v != "" {
			c.Postgres = with(c.Postgres, name, v)
		}
		if v := getenv("FORMICARY_" + key + "_ADDR"); v != "" {
			c.Services = with(c.Services, name, v)
		}
		if v := getenv("FORMICARY_" + key + "_ANTS_ADDR"); v != "" {
			c.Ants = with(c.Ants, name, v)
		}
	}
}

func with(m map[string]string, k, v string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	return m
}

// Service returns the gRPC address of a service, or an error that says how to give one.
func (c Colony) Service(name string) (string, error) {
	if a := c.Services[name]; a != "" {
		return a, nil
	}
	return "", fmt.Errorf("no address of %s: start the colony with `formicary up --only=infra --expose`, or set FORMICARY_%s_ADDR",
		name, strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// Ant returns the address at which a service answers ants, or an error that says how to give one.
func (c Colony) Ant(service string) (string, error) {
	if a := c.Ants[service]; a != "" {
		return a, nil
	}
	return "", fmt.Errorf("no address at which %s answers ants: start the colony with `formicary up --expose`, or set FORMICARY_%s_ANTS_ADDR",
		service, strings.ToUpper(strings.ReplaceAll(service, "-", "_")))
}

// DSN returns the database of a service, or an error that says how to give one.
func (c Colony) DSN(name string) (string, error) {
	if d := c.Postgres[name]; d != "" {
		return d, nil
	}
	return "", fmt.Errorf("no database of %s: start the colony with `formicary up --only=infra --expose`, or set FORMICARY_POSTGRES_%s",
		name, strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// Save writes the file with mode 0600, whole or not at all: it holds the keys of the stores.
func (c Colony) Save(path string) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode addresses: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".colony-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temp.Write(append(raw, '\n'))
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
