package up

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicary/formicary/libs/colony"
)

const (
	fileName = "colony.json"
	antDir   = "ant" // its spool and working directories, below the data directory
)

// inner are the services that only other services call.
var inner = []string{"job-manager", "scheduler", "resource-manager", "supervisor"} //nolint:gochecknoglobals // a constant list

// storeAddresses are where the stores listen for other processes; empty means not at all. S3 always listens: ants
// upload by HTTP.
type storeAddresses struct{ nats, etcd, s3 string }

// before returns the addresses of the run before in this directory, or none.
func before(dir string) colony.Colony {
	none := func(string) string { return "" }
	c, err := colony.Load(filepath.Join(dir, fileName), none)
	if err != nil {
		return colony.Colony{}
	}
	return c
}

// nearby is an address of this machine only with the port of addr: the operations port has no login.
func nearby(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	ip, ipErr := netip.ParseAddr(host)
	if err != nil || host == "localhost" || ipErr == nil && ip.IsLoopback() {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// plan chooses the addresses. Those of the run before are taken again where they are free, so that processes that
// outlive a restart find the colony where it was.
func plan(c Config) (colony.Colony, storeAddresses, error) {
	was := before(c.DataDir)
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return colony.Colony{}, storeAddresses{}, err
	}
	outside := host // the gateway is for other machines, nothing else is
	if !isLoopback(host) {
		host = "127.0.0.1"
	}
	col := colony.Colony{PID: os.Getpid(), DataDir: c.DataDir, KeyRing: KeyRing(c.DataDir), HTTPS: c.HTTPSCert, Development: true}
	if col.HTTPS != "" { // the file is read by processes that stand elsewhere
		if col.HTTPS, err = filepath.Abs(col.HTTPS); err != nil {
			return col, storeAddresses{}, fmt.Errorf("find the certificate: %w", err)
		}
	}
	stores := storeAddresses{s3: keep(was.S3.Endpoint, net.JoinHostPort(host, "0"))}
	if c.InfraOnly || c.Expose {
		fresh, err := probe(host, len(inner)+6+len(colony.ForAnts()))
		if err != nil {
			return col, stores, err
		}
		stores.nats = keep(strings.TrimPrefix(was.NATS, "nats://"), fresh[0])
		stores.etcd = fresh[1]
		stores.s3 = keep(was.S3.Endpoint, fresh[len(fresh)-1])
		if len(was.Etcd) == 1 {
			stores.etcd = keep(was.Etcd[0], fresh[1])
		}
		col.HTTP, col.GRPC, col.Ops = c.Listen, after(c.Listen, 1), nearby(after(c.Listen, 2))
		if port == "0" {
			col.HTTP, col.GRPC, col.Ops = keep(was.HTTP, on(outside, fresh[2])), keep(was.GRPC, on(outside, fresh[3])), keep(was.Ops, nearby(fresh[4]))
		}
		col.Services = map[string]string{"api-gateway": col.GRPC}
		for i, name := range inner {
			col.Services[name] = keep(was.Services[name], fresh[5+i])
		}
		col.Ants = map[string]string{}
		for i, name := range colony.ForAnts() {
			col.Ants[name] = keep(was.Ants[name], fresh[5+len(inner)+i])
		}
		return col, stores, nil
	}
	col.HTTP, col.GRPC, col.Ops = c.Listen, after(c.Listen, 1), nearby(after(c.Listen, 2))
	return col, stores, nil
}

// on is an address at another host.
func on(host, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port)
}
