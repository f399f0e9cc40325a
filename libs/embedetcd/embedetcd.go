// Package embedetcd runs a single etcd member inside the process: the embedded colony and the tests use it.
package embedetcd

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// Member is a running etcd.
type Member struct{ e *embed.Etcd }

const (
	quota     = 256 << 20
	startTime = 20 * time.Second
)

// Start returns when the member can be used. listen is the host and port of a loopback address for other processes;
// empty listens nowhere.
func Start(dir, listen string) (*Member, error) {
	conf := embed.NewConfig()
	conf.Dir = dir
	conf.ListenClientUrls, conf.AdvertiseClientUrls = nil, nil
	conf.ListenPeerUrls = nil
	if listen != "" {
		u := url.URL{Scheme: "http", Host: listen}
		conf.ListenClientUrls = []url.URL{u}
		conf.AdvertiseClientUrls = conf.ListenClientUrls
	}
	conf.TickMs, conf.ElectionMs = 10, 100
	conf.QuotaBackendBytes = quota
	conf.AutoCompactionMode, conf.AutoCompactionRetention = "periodic", "10m"
	conf.EnableGRPCGateway = false
	conf.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(conf)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return &Member{e}, nil
	case <-time.After(startTime):
		e.Close()
		return nil, errors.New("etcd was not ready in 20 s")
	}
}

// Client returns an in-process client; closing it ends its watches, not the member.
func (m *Member) Client() *clientv3.Client { return v3client.New(m.e.Server) }

// Endpoints for other processes.
func (m *Member) Endpoints() []string {
	var out []string
	for _, l := range m.e.Clients {
		out = append(out, l.Addr().String())
	}
	return out
}

// Stop ends the member.
func (m *Member) Stop() { m.e.Close() }
