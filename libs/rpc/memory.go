package rpc

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/test/bufconn"
)

var quickly = backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}

const memoryBuffer = 1 << 20

// Memory is a network inside the process: names instead of addresses, the same encoding and interceptors.
type Memory struct {
	mu   sync.Mutex
	lis  map[string]*bufconn.Listener
	wake chan struct{} // closed and replaced whenever a name is added
}

// NewMemory returns an empty network.
func NewMemory() *Memory {
	return &Memory{lis: map[string]*bufconn.Listener{}, wake: make(chan struct{})}
}

// Listen opens the name; a name listened on before is replaced.
func (m *Memory) Listen(name string) net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := bufconn.Listen(memoryBuffer)
	m.lis[name] = l
	close(m.wake)
	m.wake = make(chan struct{})
	return l
}

// Dial returns a connection to the name, which may begin to listen later.
func (m *Memory) Dial(name string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return m.connect(ctx, name)
	}))
	return Dial("passthrough:///"+name, opts...)
}

func (m *Memory) connect(ctx context.Context, name string) (net.Conn, error) {
	for {
		m.mu.Lock()
		l, wake := m.lis[name], m.wake
		m.mu.Unlock()
		if l != nil {
			return l.DialContext(ctx)
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
