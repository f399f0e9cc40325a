package up

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/testkit"
)

// damage overwrites every file below dir.
func damage(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.WriteFile(path, []byte("not what was written"), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNATSStartsOnDamagedFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	for range 2 {
		s, err := openNATS(t.Context(), testkit.Logger(t), dir, "")
		if err != nil {
			t.Fatal(err)
		}
		nc, err := s.Connect("test")
		if err != nil {
			t.Fatal(err)
		}
		js, err := bus.JetStream(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bus.EnsureConsumer(t.Context(), js, bus.Tasks, jetstream.ConsumerConfig{Durable: "d", FilterSubject: "formicary.task.a", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "formicary.task.a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		s.Stop()
		damage(t, dir)
	}
}

func TestEtcdStartsOnDamagedFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	for range 2 {
		m, err := openEtcd(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		m.Stop()
		damage(t, dir)
	}
}

func TestEachServiceHasARoleOfItsOwn(t *testing.T) {
	dsn := testkit.Postgres(t)
	for range 2 { // the second time there is nothing to do
		if err := ensureRoles(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	// As one role a table is made, as another it must not be seen.
	for _, step := range []struct {
		sql string
		ok  bool
	}{
		{"SET ROLE job", true},
		{"CREATE SCHEMA IF NOT EXISTS job", true},
		{"CREATE TABLE job.t (id int)", true},
		{"RESET ROLE", true},
		{"SET ROLE execution", true},
		{"SELECT * FROM job.t", false},
		{"CREATE TABLE job.u (id int)", false},
	} {
		if _, err := conn.Exec(t.Context(), step.sql); (err == nil) != step.ok {
			t.Errorf("%s: %v", step.sql, err)
		}
	}
}

func TestDataDirectoryIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	lock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if _, err := lockData(dir); err == nil {
		t.Error("a second colony got the same directory")
	}
}
