// Package embedded runs a NATS server inside the process: the embedded colony and the tests use it.
package embedded

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/formicary/formicary/libs/bus"
)

// Options of a server.
type Options struct {
	// StoreDir keeps the streams.
	StoreDir string
	// Listen is a loopback host and port for other processes; Port -1 takes a free one. An empty host listens nowhere.
	Host string
	Port int
}

// Server is a running NATS server.
type Server struct{ s *server.Server }

// Start returns when the server takes connections.
func Start(o Options) (*Server, error) {
	opts := &server.Options{
		ServerName: "formicary", JetStream: true, StoreDir: o.StoreDir, SyncInterval: time.Second,
		NoSigs: true, NoLog: true, DontListen: o.Host == "", Host: o.Host, Port: o.Port,
		JetStreamMaxMemory: 128 << 20, JetStreamMaxStore: 4 << 30,
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("make NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the NATS server was not ready in 20 s")
	}
	return &Server{s}, nil
}

// Connect returns an in-process connection.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	return bus.Connect("", name, nats.InProcessServer(s.s))
}

// URL for other processes; empty when the server listens nowhere.
func (s *Server) URL() string {
	if s.s.Addr() == nil {
		return ""
	}
	return "nats://" + s.s.Addr().String()
}

// Stop ends the server.
func (s *Server) Stop() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}
