package blob_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor/internal/blob"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// What a store that fails leaves in an error may be read by anybody: no address, no key of an object, no id of an upload.
func TestFaultsTellNoAddress(t *testing.T) {
	const key, upload = "artifacts/org/secret-place/0193", "secret-upload"
	for name, answer := range map[string]http.HandlerFunc{
		"cut":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"refused": func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.URL.String(), http.StatusForbidden) },
		"away":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			if answer == nil {
				server.Close()
			}
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client, err := minio.New(strings.TrimPrefix(server.URL, "http://"), &minio.Options{
				Creds: credentials.NewStaticV4("secret-name", "secret-word", ""), Region: "us-east-1", MaxRetries: 1, Transport: transport,
			})
			if err != nil {
				t.Fatal(err)
			}
			s := &blob.Store{Client: client, Bucket: "b"}
			for what, call := range map[string]func(ctx context.Context) error{
				"begin":  func(ctx context.Context) error { _, err := s.BeginParts(ctx, key); return err },
				"join":   func(ctx context.Context) error { _, err := s.JoinParts(ctx, key, upload, []string{"tag"}); return err },
				"abort":  func(ctx context.Context) error { return s.AbortParts(ctx, key, upload) },
				"has":    func(ctx context.Context) error { _, err := s.Has(ctx, key); return err },
				"range":  func(ctx context.Context) error { _, err := s.Range(ctx, key, 0, 1); return err },
				"put":    func(ctx context.Context) error { return s.Put(ctx, key, strings.NewReader("x")) },
				"remove": func(ctx context.Context) error { return s.Remove(ctx, []string{key}) },
				"open": func(ctx context.Context) error {
					r, err := s.Open(ctx, key, 0)
					if err != nil {
						return err
					}
					defer func() { _ = r.Close() }()
					_, err = io.ReadAll(r)
					return err
				},
			} {
				err := call(t.Context())
				if err == nil {
					t.Errorf("%s succeeds", what)
					continue
				}
				for _, secret := range []string{"http://", "X-Amz", "uploadId", "secret"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s tells %q: %v", what, secret, err)
					}
				}
			}
		})
	}
}
