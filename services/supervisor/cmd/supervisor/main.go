// Command supervisor runs the service supervisor as a process of its own.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/formicary/formicary/libs/boot"
	"github.com/formicary/formicary/services/supervisor"
)

// region is fixed so that the client never has to ask the store for it.
const region = "us-east-1"

func main() {
	conf := supervisor.DefaultConfig()
	flags := func(fs *flag.FlagSet) {
		fs.Int64Var(&conf.Caches.Quota, "cache-quota", conf.Caches.Quota, "`BYTES` that the caches of an organisation may have; beyond it the least recently used are deleted")
		fs.Int64Var(&conf.ArtifactBytes, "artifact-bytes", conf.ArtifactBytes, "`BYTES` that one artifact may have; larger ones are refused")
		fs.StringVar(&conf.PublicURL, "url", os.Getenv("FORMICARY_URL"), "`URL` at which tasks and people reach the gateway, for the addresses of artifacts; that of the colony unless given")
	}
	os.Exit(boot.Main("supervisor", flags, func(ctx context.Context, p *boot.Process) error { return wire(ctx, conf, p) }))
}

func wire(ctx context.Context, conf supervisor.Config, p *boot.Process) error {
	if conf.PublicURL == "" && p.Colony.HTTP != "" {
		conf.PublicURL = "http://" + p.Colony.HTTP
	}
	pool, err := p.Pool(ctx, supervisor.Schema)
	if err != nil {
		return err
	}
	if err := supervisor.Migrate(ctx, pool); err != nil {
		return err
	}
	leases, reads, err := supervisor.Beside(ctx, pool)
	if err != nil {
		return err
	}
	p.Close(leases.Close)
	p.Close(reads.Close)
	nc, js, err := p.NATS()
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
	s3 := p.Colony.S3
	transport, err := minio.DefaultTransport(s3.Secure)
	if err != nil {
		return err
	}
	if transport.TLSClientConfig, err = p.StoresTLS(); err != nil {
		return err
	}
	blobs, err := minio.New(s3.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, ""), Secure: s3.Secure, Region: region, Transport: transport,
	})
	if err != nil {
		return err
	}
	svc, err := supervisor.New(conf, supervisor.Deps{
		Pool: pool, Leases: leases, Reads: reads, NATS: nc, JS: js, JobManager: jobs, ResourceManager: resources, Blobs: blobs, Bucket: s3.Bucket,
		Log: p.Log, Meter: p.Metrics.Meter("supervisor"),
	})
	if err != nil {
		return err
	}
	p.Ops.Ready("database", pool.Ping)
	p.Run("supervisor", svc.Run)
	if err := p.ServeAnts(svc.Register, svc.Gone); err != nil {
		return err
	}
	return p.Serve(svc.Register)
}
