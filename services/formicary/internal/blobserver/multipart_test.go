package blobserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
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

// Whatever the lengths of the parts, the order in which they come and how often, the object is what the end names.
func TestPartsOfAnyLength(t *testing.T) {
	dir := t.TempDir()
	core := minio.Core{Client: open(t, dir, "")}
	text := strings.Repeat
	type sent struct {
		number int
		body   string
	}
	for name, c := range map[string]struct {
		send []sent
		take []int // of what was sent
	}{
		"in order":               {[]sent{{1, text("a", 1000)}, {2, text("b", 1000)}, {3, "c"}}, []int{0, 1, 2}},
		"the last first":         {[]sent{{3, "c"}, {2, text("b", 1000)}, {1, text("a", 1000)}}, []int{2, 1, 0}},
		"one only":               {[]sent{{1, "a"}}, []int{0}},
		"growing":                {[]sent{{1, "a"}, {2, "bb"}, {3, "ccc"}}, []int{0, 1, 2}},
		"falling":                {[]sent{{1, "aaa"}, {2, "bb"}, {3, "c"}}, []int{0, 1, 2}},
		"with gaps":              {[]sent{{2, "aaa"}, {7, "bbb"}, {10000, "c"}}, []int{0, 1, 2}},
		"not all of them":        {[]sent{{1, "aaa"}, {2, "bbb"}, {3, "ccc"}}, []int{0, 1}},
		"the later of two":       {[]sent{{1, "aaa"}, {2, "bbb"}, {1, "AAA"}}, []int{2, 1}},
		"the earlier of two":     {[]sent{{1, "aaa"}, {2, "bbb"}, {1, "AAA"}}, []int{0, 1}},
		"the same twice":         {[]sent{{1, "aaa"}, {1, "aaa"}, {2, "bbb"}}, []int{1, 2}},
		"a longer one afterward": {[]sent{{1, "aaa"}, {2, "bbb"}, {2, "BBBB"}}, []int{0, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			key := "k/" + name
			id, err := core.NewMultipartUpload(t.Context(), blobserver.Bucket, key, minio.PutObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			tags := make([]string, len(c.send))
			for i, s := range c.send {
				p, err := core.PutObjectPart(t.Context(), blobserver.Bucket, key, id, s.number, strings.NewReader(s.body), int64(len(s.body)), minio.PutObjectPartOptions{})
				if err != nil {
					t.Fatal(err)
				}
				tags[i] = p.ETag
			}
			var parts []minio.CompletePart
			want := ""
			for _, i := range c.take {
				parts = append(parts, minio.CompletePart{PartNumber: c.send[i].number, ETag: tags[i]})
				want += c.send[i].body
			}
			if _, err := core.CompleteMultipartUpload(t.Context(), blobserver.Bucket, key, id, parts, minio.PutObjectOptions{}); err != nil {
				t.Fatal(err)
			}
			if got, err := read(t, core.Client, key, minio.GetObjectOptions{}); err != nil || got != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	if left, err := os.ReadDir(filepath.Join(dir, ".parts")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A part that never came to its end does not stand in the way of the next try of it, neither when it was cut nor while it is
// still being sent: what that sends later is in no object.
func TestUnfinishedParts(t *testing.T) {
	core := minio.Core{Client: open(t, t.TempDir(), "")}
	const key = "k"
	id, err := core.NewMultipartUpload(t.Context(), blobserver.Bucket, key, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(number int, body string, size int) net.Conn {
		u, err := core.Presign(t.Context(), http.MethodPut, blobserver.Bucket, key, time.Minute, url.Values{"uploadId": {id}, "partNumber": {strconv.Itoa(number)}})
		if err != nil {
			t.Fatal(err)
		}
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", u.RequestURI(), u.Host, size, body); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	put := func(number int, body string) minio.CompletePart {
		p, err := core.PutObjectPart(t.Context(), blobserver.Bucket, key, id, number, strings.NewReader(body), int64(len(body)), minio.PutObjectPartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return minio.CompletePart{PartNumber: number, ETag: p.ETag}
	}
	if err := begin(1, "zz", 4).Close(); err != nil {
		t.Fatal(err)
	}
	late := begin(2, "zz", 4)
	parts := []minio.CompletePart{put(1, "aaaa"), put(2, "bbbb"), put(3, "c")}
	if _, err := core.CompleteMultipartUpload(t.Context(), blobserver.Bucket, key, id, parts, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _ = late.Write([]byte("zz"))
	_, _ = io.Copy(io.Discard, io.LimitReader(late, 1)) // it has an answer
	if got, err := read(t, core.Client, key, minio.GetObjectOptions{}); err != nil || got != "aaaabbbbc" {
		t.Errorf("%q, %v", got, err)
	}
}
