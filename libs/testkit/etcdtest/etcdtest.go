// Package etcdtest gives tests a real etcd; it is apart from testkit because etcd is slow to compile.
package etcdtest

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/formicary/formicary/libs/embedetcd"
)

// Etcd returns a client of a member that only this test uses.
func Etcd(t testing.TB) *clientv3.Client {
	t.Helper()
	m, err := embedetcd.Start(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	c := m.Client()
	t.Cleanup(func() { _ = c.Close(); m.Stop() })
	return c
}
