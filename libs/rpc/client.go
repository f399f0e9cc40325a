package rpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Dial returns a connection to the servers of this package at addr: a host:port, of which DNS may name several replicas,
// or several separated by commas. Calls go to each in turn. It connects when first used and reconnects by itself, at most
// a second after a server is back.
func Dial(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	target, list := replicas(addr)
	opts = slices.Concat([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(unaryClient),
		grpc.WithChainStreamInterceptor(streamClient),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quickly, MinConnectTimeout: 2 * time.Second}),
		grpc.WithDefaultServiceConfig(spread),
	}, list, opts)
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

func unaryClient(ctx context.Context, method string, req, res any, conn *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := retry(ctx, method, req, func(ctx context.Context) error { return next(ctx, method, req, res, conn, opts...) })
	if m, ok := req.(proto.Message); ok && status.Code(err) == codes.Internal { // what is no UTF-8 cannot be encoded
		if bad := CheckText(m); bad != nil {
			return bad
		}
	}
	return tooLarge(err, req)
}

func streamClient(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := next(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, FromStatus(err)
	}
	return &clientStream{s}, nil
}

type clientStream struct{ grpc.ClientStream }

func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
		return err
	}
	return FromStatus(err)
}
