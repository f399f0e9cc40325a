package live

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// LastEventID is the metadata key in which a client that comes back names the last event that it saw.
const LastEventID = "last-event-id"

// Server serves watches over gRPC.
type Server struct {
	jobv1.UnimplementedEventServiceServer
	hub *Hub
}

// NewServer returns the service of the hub.
func NewServer(h *Hub) *Server { return &Server{hub: h} }

// WatchEvents sends events until the watch ends.
func (s *Server) WatchEvents(req *jobv1.WatchEventsRequest, ss grpc.ServerStreamingServer[jobv1.WatchEventsResponse]) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	w, err := s.hub.Watch(ss.Context(), req, first(md, LastEventID))
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		m, err := w.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ss.Send(m); err != nil {
			return err
		}
	}
}

// Client serves watches to the REST handlers of the same process, through the same gate and without a connection in
// between.
type Client struct {
	hub  *Hub
	gate *gate.Gate
}

// NewClient returns a client of the hub.
func NewClient(h *Hub, g *gate.Gate) *Client { return &Client{h, g} }

// WatchEvents starts a watch that ends with ctx. The last event's id stands in the outgoing metadata.
func (c *Client) WatchEvents(ctx context.Context, req *jobv1.WatchEventsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[jobv1.WatchEventsResponse], error) {
	md, _ := metadata.FromOutgoingContext(ctx)
	admitted, release, err := c.gate.AdmitStream(ctx, jobv1.EventService_WatchEvents_FullMethodName)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, release)
	w, err := c.hub.Watch(admitted, req, first(md, LastEventID))
	if err != nil {
		return nil, err
	}
	return &local{w}, nil
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// local is the client's side of a watch in the same process.
type local struct{ w *Watch }

func (l *local) Recv() (*jobv1.WatchEventsResponse, error) { return l.w.Next() }
func (l *local) Header() (metadata.MD, error)              { return nil, nil }
func (l *local) Trailer() metadata.MD                      { return nil }
func (l *local) CloseSend() error                          { return nil }
func (l *local) Context() context.Context                  { return l.w.ctx }
func (l *local) SendMsg(any) error                         { return errors.ErrUnsupported }
func (l *local) RecvMsg(any) error                         { return errors.ErrUnsupported }
