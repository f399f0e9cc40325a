package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/libs/run"
)

// Colony is one that can be run.
type Colony struct {
	conf Config
	log  *slog.Logger
}

// New returns a colony that does nothing before Run.
func New(conf Config, log *slog.Logger) (*Colony, error) {
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(conf.DataDir)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	if err := cluster.CheckDir(dir); err != nil {
		return nil, err
	}
	conf.DataDir = dir
	return &Colony{conf: conf, log: log}, nil
}

const (
	stopServices = 6 * time.Second // for everything above the stores to end
	stopStores   = 3 * time.Second
)

// Run starts everything, writes colony.json and calls ready once the colony takes work, and runs until ctx ends or a
// part fails. It returns when everything has ended, at most 10 s after the last task has; a second signal (run.Hurried)
// ends the tasks.
func (c *Colony) Run(ctx context.Context, ready func(colony.Colony)) (err error) {
	lock, err := lockData(c.conf.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	col, at, err := plan(c.conf)
	if err != nil {
		return err
	}
	doors, err := c.openDoors(&col)
	if err != nil {
		return err
	}
	defer doors.close()
	s, err := openStores(ctx, c.log, c.conf, at)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopStores)
		defer cancel()
		err = errors.Join(err, s.close(end))
	}()
	s.fill(&col)
	layers := [][]run.Member{{{Name: "stores", Run: s.watch}}}
	announce := func() error {
		if err := col.Save(filepath.Join(c.conf.DataDir, fileName)); err != nil {
			return err
		}
		ready(col)
		return nil
	}
	if c.conf.InfraOnly {
		return orderly(ctx, nil, append(layers, []run.Member{{Name: "announcement", Run: func(ctx context.Context) error {
			if err := announce(); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}}}))
	}
	svc, err := compose(ctx, c.conf, c.log, s, doors, &col)
	if err != nil {
		return err
	}
	defer svc.close()
	return orderly(ctx, svc.tasks.Wait, append(append(layers, svc.layers...), []run.Member{{Name: "readiness", Run: func(ctx context.Context) error {
		if err := svc.await(ctx); err != nil {
			return err
		}
		if err := announce(); err != nil {
			return err
		}
		if svc.bootstrap != "" && c.conf.Bootstrap != nil {
			c.conf.Bootstrap(svc.bootstrap)
		}
		<-ctx.Done()
		return nil
	}}}))
}

// orderly runs the layers and bounds their end, from when tasks returns: what runs tasks bounds these itself.
func orderly(ctx context.Context, tasks func(), layers [][]run.Member) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, l := range layers {
		for i, m := range l {
			l[i].Run = func(ctx context.Context) error {
				defer cancel() // one that ends by itself ends all
				return m.Run(ctx)
			}
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- layered(ctx, layers...) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if tasks != nil {
			tasks()
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-drained:
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopServices):
		return fmt.Errorf("not everything ended within %s; what is left is ended by force", stopServices)
	}
}

// lockData makes the data directory and keeps every other process out of it.
func lockData(dir string) (*os.File, error) {
	// PostgreSQL may run as another user below it; what is secret has a mode of its own.
	if err := os.MkdirAll(dir, 0o711); err != nil { // #nosec G301 -- see above
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the data directory %s is in use by another colony (process %d): stop it, or choose another --data", dir, before(dir).PID)
	}
	return f, nil
}

// doors are the listeners of the gateway and of operations.
type doors struct{ http, grpc, ops net.Listener }

// openDoors opens them early, so that an address in use is told before a database is started.
func (c *Colony) openDoors(col *colony.Colony) (*doors, error) {
	d := &doors{}
	if c.conf.InfraOnly {
		return d, nil
	}
	was := before(c.conf.DataDir)
	for _, door := range []struct {
		lis    *net.Listener
		addr   *string
		before string
	}{{&d.http, &col.HTTP, was.HTTP}, {&d.grpc, &col.GRPC, was.GRPC}, {&d.ops, &col.Ops, was.Ops}} {
		l, err := listen(*door.addr, door.before)
		if err != nil {
			d.close()
			return nil, err
		}
		*door.lis, *door.addr = l, l.Addr().String()
	}
	return d, nil
}

func (d *doors) close() {
	for _, l := range []net.Listener{d.http, d.grpc, d.ops} {
		if l != nil {
			_ = l.Close() // those that were served are closed already
		}
	}
}
