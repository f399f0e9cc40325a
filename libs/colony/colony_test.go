package colony_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/colony"
)

func TestSavedColonyIsLoadedWithOverrides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "colony.json")
	if err := (colony.Colony{NATS: "nats://a", Services: map[string]string{"scheduler": "s:1"}}).Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	env := map[string]string{"FORMICARY_NATS_URL": "nats://b", "FORMICARY_JOB_MANAGER_ADDR": "j:1"}
	c, err := colony.Load(path, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if c.NATS != "nats://b" {
		t.Errorf("NATS %q", c.NATS)
	}
	for name, want := range map[string]string{"scheduler": "s:1", "job-manager": "j:1"} {
		if got, err := c.Service(name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := c.Service("supervisor"); err == nil {
		t.Error("an unknown address gives no error")
	}
}

// What a process would reach without protection is told, all of it at once, and told of no value.
func TestWhatOthersReachIsProtected(t *testing.T) {
	safe := map[string]string{
		"NATS_URL": "tls://formicary:s3cret-nats@nats:4222", "ETCD": "https://etcd-0:2379,https://etcd-1:2379", "ETCD_USER": "scheduler", "ETCD_PASSWORD": "s3cret-etcd",
		"S3_ENDPOINT": "https://s3:9000", "S3_ACCESS_KEY": "formicary-1", "S3_SECRET_KEY": "s3cret-s3",
		"POSTGRES_JOB_MANAGER":      "postgres://job_manager:s3cret-pg@db/formicary?sslmode=verify-full",
		"POSTGRES_SUPERVISOR":       "host=/run/postgresql user=supervisor dbname=formicary",
		"POSTGRES_RESOURCE_MANAGER": "postgres://resource_manager:s3cret-pg@db/formicary?sslmode=verify-full",
	}
	load := func(change ...string) colony.Colony {
		c, err := colony.Load("", func(key string) string {
			key = strings.TrimPrefix(key, "FORMICARY_")
			for i := 0; i < len(change); i += 2 {
				if change[i] == key {
					return change[i+1]
				}
			}
			return safe[key]
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, process := range []string{"job-manager", "supervisor", "scheduler", "resource-manager", "ant"} {
		if err := load().Protected(process); err != nil {
			t.Errorf("%s: %v", process, err)
		}
	}
	if c := load(); !c.S3.Secure || c.S3.Endpoint != "s3:9000" {
		t.Errorf("%+v", c.S3)
	}
	for _, k := range []struct {
		process string
		change  []string
		says    string
	}{
		{"ant", []string{"NATS_URL", "nats://nats:4222"}, "without TLS"},
		{"ant", []string{"NATS_URL", "tls://nats:4222"}, "no user"},
		{"ant", []string{"NATS_URL", "tls://u:p@nats:4222,nats://u:p@other:4222"}, "without TLS"},
		{"ant", []string{"NATS_URL", ""}, "without TLS"},
		{"scheduler", []string{"ETCD", "https://etcd-0:2379,http://etcd-1:2379"}, "etcd is reached without TLS"},
		{"scheduler", []string{"ETCD_PASSWORD", ""}, "told no user"},
		{"supervisor", []string{"S3_ENDPOINT", "s3:9000"}, "object store is reached without TLS"},
		{"supervisor", []string{"S3_SECRET_KEY", "minioadmin"}, "everybody knows"},
		{"supervisor", []string{"S3_ACCESS_KEY", ""}, "no keys"},
		{"supervisor", []string{"AUTHORITY", "/pki"}, "--tls-cert"},
		{"scheduler", []string{"AUTHORITY", "/pki"}, "--tls-cert"},
		{"job-manager", []string{"POSTGRES_JOB_MANAGER", "postgres://job_manager:s3cret-pg@db/formicary?sslmode=require"}, "verify-full"},
		{"job-manager", []string{"POSTGRES_JOB_MANAGER", "postgres://job_manager:s3cret-pg@db/formicary?sslmode=prefer"}, "verify-full"},
		{"job-manager", []string{"POSTGRES_JOB_MANAGER", "postgres://job_manager:s3cret-pg@db/formicary?sslmode=disable"}, "verify-full"},
		{"job-manager", []string{"POSTGRES_JOB_MANAGER", "postgres://job_manager@db/formicary?sslmode=verify-full"}, "no password"},
		{"job-manager", []string{"POSTGRES_JOB_MANAGER", "postgres://a:s3cret-pg@db:port/x"}, "no address"},
	} {
		c := load(k.change...)
		err := c.Protected(k.process)
		if err == nil || !strings.Contains(err.Error(), k.says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s with %v: %v", k.process, k.change, err)
		}
		if c = load(append(k.change, "DEVELOPMENT", "true")...); c.Protected(k.process) != nil {
			t.Errorf("%s with %v: refused in development", k.process, k.change)
		}
	}
	if err := (colony.Colony{}).Protected("supervisor"); err == nil || strings.Count(err.Error(), "\n") < 4 {
		t.Errorf("not all faults are told at once: %v", err)
	}
	if err := load("AUTHORITY", "/pki").Protected("resource-manager"); err != nil {
		t.Error(err)
	}
}
