package blobserver_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/formicary/formicary/services/formicary/internal/blobserver"
)

// open starts a server on dir and returns a client with its keys, or with a wrong secret.
func open(t *testing.T, dir, secret string) *minio.Client {
	t.Helper()
	s, err := blobserver.Start(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.WithoutCancel(t.Context())) })
	if secret == "" {
		secret = s.SecretKey
	}
	c, err := minio.New(s.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, secret, "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, c *minio.Client, key string, o minio.GetObjectOptions) (string, error) {
	t.Helper()
	obj, err := c.GetObject(t.Context(), blobserver.Bucket, key, o)
	if err != nil {
		return "", err
	}
	defer func() { _ = obj.Close() }()
	raw, err := io.ReadAll(obj)
	return string(raw), err
}

func TestObjectsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	const key, text = "logs/default/a/../b/task one.log", "hello, colony"
	c := open(t, dir, "")
	if _, err := c.PutObject(t.Context(), blobserver.Bucket, key, bytes.NewReader([]byte(text)), int64(len(text)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, "") // the keys are kept, so both servers know them
	if got, err := read(t, again, key, minio.GetObjectOptions{}); err != nil || got != text {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	var part minio.GetObjectOptions
	if err := part.SetRange(7, 9); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, again, key, part); err != nil || got != "col" {
		t.Errorf("a part: %q, %v", got, err)
	}
	if err := again.RemoveObject(t.Context(), blobserver.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, again, key, minio.GetObjectOptions{}); err == nil {
		t.Error("a removed object was read")
	}
}

func TestSignaturesAreChecked(t *testing.T) {
	c := open(t, t.TempDir(), "guessed")
	if _, err := c.PutObject(t.Context(), blobserver.Bucket, "k", bytes.NewReader([]byte("x")), 1, minio.PutObjectOptions{}); err == nil {
		t.Error("a wrong secret was accepted")
	}
}

func TestPresignedPutIsForOneKey(t *testing.T) {
	c := open(t, t.TempDir(), "")
	u, err := c.PresignedPutObject(t.Context(), blobserver.Bucket, "logs/one", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	put := func(url string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader([]byte("text")))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	other := *u
	other.Path = "/" + blobserver.Bucket + "/logs/two"
	if code := put(other.String()); code != http.StatusForbidden {
		t.Errorf("another key by the same URL: status %d", code)
	}
	if code := put(u.String()); code != http.StatusOK {
		t.Errorf("its own key: status %d", code)
	}
	if got, err := read(t, c, "logs/one", minio.GetObjectOptions{}); err != nil || got != "text" {
		t.Errorf("got %q, %v", got, err)
	}
}
