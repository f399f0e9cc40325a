package rpc

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// WithTLS makes a connection one that speaks TLS. conf is asked before each handshake, so that certificates and trusted
// authorities may change while the connection lives.
func WithTLS(conf func() *tls.Config) grpc.DialOption {
	return grpc.WithTransportCredentials(&fresh{conf})
}

// fresh are transport credentials of a client whose settings change.
type fresh struct{ conf func() *tls.Config }

func (f *fresh) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conf := f.conf() // whatever the address, which would take its place as the name
	return credentials.NewTLS(conf).ClientHandshake(ctx, conf.ServerName, conn)
}

func (f *fresh) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(f.conf()).ServerHandshake(conn)
}

func (f *fresh) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", SecurityVersion: "1.3"} //nolint:staticcheck // the field is part of the interface's answer
}

func (f *fresh) Clone() credentials.TransportCredentials { return &fresh{f.conf} }

// OverrideServerName does nothing: a server proves the name that conf says.
func (f *fresh) OverrideServerName(string) error { return nil }
