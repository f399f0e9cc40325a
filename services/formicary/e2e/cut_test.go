package e2e

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/formicary/formicary/libs/colony"
)

// cutAfter is how much a connection carries in one direction before it is cut.
const cutAfter = 3 << 20

// cutter passes connections on, and cuts some of them in the middle.
type cutter struct {
	lis  net.Listener
	to   string
	up   cuts // towards the store
	down cuts
}

// cuts are those of one direction.
type cuts struct{ left, done atomic.Int32 }

func (c *cuts) take() bool {
	if c.left.Add(-1) < 0 {
		c.left.Add(1)
		return false
	}
	c.done.Add(1)
	return true
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{lis: lis, to: to}
	go c.serve()
	t.Cleanup(func() { _ = lis.Close() }) // connections end with the processes that hold them
	return c
}

func (c *cutter) serve() {
	for {
		near, err := c.lis.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		end := func() {
			_ = near.Close()
			_ = far.Close()
		}
		go c.up.pass(far, near, end)
		go c.down.pass(near, far, end)
	}
}

// pass carries one direction of a connection until one of the two ends it, or a cut.
func (c *cuts) pass(to io.Writer, from io.Reader, end func()) {
	defer end()
	for {
		n, err := io.CopyN(to, from, cutAfter)
		if err != nil || n == cutAfter && c.take() {
			return
		}
	}
}

// Connections to the object store that are cut in the middle of files, going up and coming down, of an artifact and of a cache,
// cost nothing but a part of the way: what arrives is what was sent.
func TestCutConnections(t *testing.T) {
	w := newWorld(t)
	w.infra()
	col, err := colony.Load(w.file(), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	store := newCutter(t, col.S3.Endpoint)
	for _, s := range services {
		w.runWith([]string{"FORMICARY_S3_ENDPOINT=" + store.lis.Addr().String()}, s, s, "--colony", w.file())
	}
	w.run("ant-1", "ant", "--colony", w.file(), "--id", "ant-1", "--cache-bytes", "0")
	w.ready()
	w.define(`
job_type: cut
tasks:
  - task_type: make
    method: SHELL
    script: ['head -c 10000000 /dev/urandom > big', 'sha256sum big > sum']
    artifacts: {paths: [big, sum]}
    on_completed: use
  - task_type: use
    method: SHELL
    dependencies: [make]
    script: [sha256sum -c sum]
`)
	w.define(`
job_type: cut-cache
tasks:
  - task_type: build
    method: SHELL
    cache: {key: k, paths: [lib]}
    script:
      - if test -d lib; then sha256sum -c lib/sum; else mkdir lib; head -c 10000000 /dev/urandom > lib/big; sha256sum lib/big > lib/sum; fi
`)
	cut := func(id string, up, down int32) {
		t.Helper()
		w.finishes(id, "COMPLETED")
		if u, d := store.up.done.Swap(0), store.down.done.Swap(0); u != up || d != down {
			t.Errorf("%d connections were cut going up and %d coming down, want %d and %d", u, d, up, down)
		}
	}
	store.up.left.Store(3)
	store.down.left.Store(3)
	cut(w.submit("cut", "1", nil), 3, 3)
	store.up.left.Store(3)
	cut(w.submit("cut-cache", "2", nil), 3, 0)
	store.down.left.Store(3)
	id := w.submit("cut-cache", "3", nil)
	cut(id, 0, 3)
	if use := w.task(id, "build").Attempts[0].Cache; use == nil || use.Outcome != "HIT" || use.Local {
		t.Errorf("%+v", use)
	}
	w.audit()
}
