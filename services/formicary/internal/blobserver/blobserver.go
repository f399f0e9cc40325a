// Package blobserver is the S3 server of the embedded colony: one bucket in a directory, reached by signed requests
// on a loopback address. It verifies signatures, also those of presigned URLs, and streams bodies to disk, so a large
// object costs no memory. Production uses a real S3 service instead; nothing else in the code knows the difference.
package blobserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rclone/gofakes3"
)

// Bucket holds everything the colony stores.
const Bucket = "formicary"

// Server is a running S3 server.
type Server struct {
	// Endpoint is host:port.
	Endpoint string
	// AccessKey and SecretKey sign requests.
	AccessKey, SecretKey string

	http *http.Server
	done chan error
}

type keys struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// Start serves dir at the loopback address listen ("127.0.0.1:0" takes a free port). The keys are made once and kept
// in dir with mode 0600.
func Start(dir, listen string) (*Server, error) {
	if err := os.MkdirAll(filepath.Join(dir, Bucket), 0o700); err != nil {
		return nil, fmt.Errorf("make blob directory: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, partsDir)); err != nil { // of uploads that no server knows any more
		return nil, fmt.Errorf("remove unfinished uploads: %w", err)
	}
	k, err := loadKeys(filepath.Join(dir, ".keys.json"))
	if err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen for S3 on %s: %w", listen, err)
	}
	s3 := gofakes3.New(&files{dir: dir, uploads: map[gofakes3.UploadID]*upload{}},
		gofakes3.WithV4Auth(map[string]string{k.AccessKey: k.SecretKey}),
		gofakes3.WithLogger(gofakes3.DiscardLog()),
		gofakes3.WithoutVersioning(),
	)
	s := &Server{
		Endpoint: lis.Addr().String(), AccessKey: k.AccessKey, SecretKey: k.SecretKey,
		http: &http.Server{Handler: s3.Server(), ReadHeaderTimeout: 10 * time.Second},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(lis) }()
	return s, nil
}

// Stop ends the server; requests under way get until ctx ends.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	if served := <-s.done; err == nil && !errors.Is(served, http.ErrServerClosed) {
		err = served
	}
	return err
}

func loadKeys(path string) (keys, error) {
	var k keys
	raw, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(raw, &k); err != nil {
			return k, fmt.Errorf("read %s: %w", path, err)
		}
		return k, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("read %s: %w", path, err)
	}
	k = keys{AccessKey: token(10), SecretKey: token(20)}
	if raw, err = json.Marshal(k); err != nil { // #nosec G117 -- into a file with mode 0600
		return k, fmt.Errorf("encode keys: %w", err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return k, fmt.Errorf("write %s: %w", path, err)
	}
	return k, nil
}

// token returns n random bytes in hex.
func token(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}
