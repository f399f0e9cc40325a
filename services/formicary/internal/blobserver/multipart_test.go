package blobserver_test

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/formicary/formicary/services/formicary/internal/blobserver"
)

// An object in parts arrives whole through signed addresses, a part sent twice counts once, and nothing of the parts stays.
func TestUploadInParts(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, "")
	core := minio.Core{Client: c}
	const key = "artifacts/o/1"
	id, err := core.NewMultipartUpload(t.Context(), blobserver.Bucket, key, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one, two := strings.Repeat("1", 5<<20), "the end"
	put := func(number int, body string) minio.CompletePart {
		u, err := c.Presign(t.Context(), http.MethodPut, blobserver.Bucket, key, time.Minute, url.Values{
			"uploadId": {id}, "partNumber": {strconv.Itoa(number)},
		})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u.String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("part %d: %s", number, res.Status)
		}
		return minio.CompletePart{PartNumber: number, ETag: res.Header.Get("Etag")}
	}
	b := put(2, two)
	_ = put(1, "a try that was not whole")
	a := put(1, one)
	if _, err := core.CompleteMultipartUpload(t.Context(), blobserver.Bucket, key, id, []minio.CompletePart{a, b}, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, c, key, minio.GetObjectOptions{}); err != nil || got != one+two {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, ".parts")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// An upload that is given up leaves nothing, nor does one that a restart has ended.
func TestUnfinishedUploads(t *testing.T) {
	dir := t.TempDir()
	core := minio.Core{Client: open(t, dir, "")}
	for range 2 {
		id, err := core.NewMultipartUpload(t.Context(), blobserver.Bucket, "k/1", minio.PutObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := core.PutObjectPart(t.Context(), blobserver.Bucket, "k/1", id, 1, bytes.NewReader([]byte("x")), 1, minio.PutObjectPartOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := core.CompleteMultipartUpload(t.Context(), blobserver.Bucket, "k/1", id, []minio.CompletePart{{PartNumber: 1, ETag: strings.Repeat("0", 32)}}, minio.PutObjectOptions{}); err == nil {
			t.Error("an object was made of a part that nobody sent")
		}
		if id[0]%2 == 0 {
			continue
		}
		if err := core.AbortMultipartUpload(t.Context(), blobserver.Bucket, "k/1", id); err != nil {
			t.Fatal(err)
		}
	}
	_ = open(t, dir, "")
	if left, err := os.ReadDir(filepath.Join(dir, ".parts")); err == nil && len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
