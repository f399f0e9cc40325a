// Command scheduler runs one replica of the scheduler.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/services/scheduler"
)

func main() {
	conf := scheduler.DefaultConfig()
	flags := func(fs *flag.FlagSet) {
		fs.StringVar(&conf.ID, "id", "", "name of this replica; default is a random one")
		fs.DurationVar(&conf.TTL, "ttl", conf.TTL, "lease of the leader, whole seconds")
	}
	os.Exit(boot.Main("scheduler", flags, func(ctx context.Context, p *boot.Process) error { return wire(p, conf) }))
}

func wire(p *boot.Process, conf scheduler.Config) error {
	etcd, err := dial(p)
	if err != nil {
		return err
	}
	p.Close(func() { _ = etcd.Close() })
	nc, _, err := p.NATS()
	if err != nil {
		return err
	}
	jobs, err := p.Peer("job-manager")
	if err != nil {
		return err
	}
	resources, err := p.Peer("resource-manager")
	if err != nil {
		return err
	}
	svc, err := scheduler.New(conf, scheduler.Deps{
		Etcd: etcd, NATS: nc, JobManager: jobs, ResourceManager: resources, Log: p.Log, Meter: p.Metrics.Meter("scheduler"),
	})
	if err != nil {
		return err
	}
	p.Run("scheduler", svc.Run)
	return p.Serve(svc.Register)
}

func dial(p *boot.Process) (*clientv3.Client, error) {
	if len(p.Colony.Etcd) == 0 {
		return nil, errors.New("no address of etcd: start the colony with `formicary up --only=infra --expose`, or set FORMICARY_ETCD")
	}
	conf, err := p.StoresTLS()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(p.Colony.Etcd, func(e string) bool { return strings.HasPrefix(e, "https://") }) {
		conf = nil
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: p.Colony.Etcd, Username: p.Colony.EtcdUser, Password: p.Colony.EtcdPassword, TLS: conf,
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("open etcd: %w", err)
	}
	return c, nil
}
