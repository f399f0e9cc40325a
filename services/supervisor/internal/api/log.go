package api

import (
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/blob"
)

// Logs serves the output of tasks.
type Logs struct {
	executionv1.UnimplementedLogServiceServer
	Reader Reader
	Blobs  *blob.Store
	JS     jetstream.JetStream
	Log    *slog.Logger
}
