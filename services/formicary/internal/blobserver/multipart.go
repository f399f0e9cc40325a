package blobserver

import (
	"context"
	"crypto/md5" // #nosec G501 -- the ETag of S3 is the MD5 of the body
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rclone/gofakes3"
)

// Uploads in parts: a folder per upload beside the buckets, a file per part. The end copies the parts into the object, which
// the kernel does without the bytes passing by here. Uploads do not survive a restart of the server: whoever began one begins
// again, and what is left of it goes at the start.

const (
	partsDir = ".parts"
	metaFile = "meta"
)

func (f *files) upload(id gofakes3.UploadID) (string, error) {
	if id == "" || strings.Trim(string(id), "0123456789abcdef") != "" {
		return "", gofakes3.ErrNoSuchUpload
	}
	return filepath.Join(f.dir, partsDir, string(id)), nil
}

// CreateMultipartUpload begins an upload.
func (f *files) CreateMultipartUpload(ctx context.Context, bucket, _ string, meta map[string]string) (gofakes3.UploadID, error) {
	if ok, _ := f.BucketExists(ctx, bucket); !ok {
		return "", gofakes3.BucketNotFound(bucket)
	}
	raw, err := json.Marshal(meta)
	if err != nil {
		return "", fmt.Errorf("encode metadata: %w", err)
	}
	id := gofakes3.UploadID(token(16))
	dir, _ := f.upload(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder of upload: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, metaFile), raw, 0o600); err != nil {
		return "", fmt.Errorf("begin upload: %w", err)
	}
	return id, nil
}

// UploadPart stores a part; the same part sent again replaces it.
func (f *files) UploadPart(_ context.Context, _, _ string, id gofakes3.UploadID, number int, size int64, body io.Reader) (string, error) {
	dir, err := f.upload(id)
	if err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(dir, tempStart)
	if errors.Is(err, fs.ErrNotExist) {
		return "", gofakes3.ErrNoSuchUpload
	}
	if err != nil {
		return "", fmt.Errorf("create part %d: %w", number, err)
	}
	sum := md5.New() // #nosec G401 -- see the import
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(temp, sum)}, body, make([]byte, 256<<10))
	if err == nil && n != size {
		err = gofakes3.ErrIncompleteBody
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	tag := hex.EncodeToString(sum.Sum(nil))
	if err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, partName(number, tag)))
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return "", fmt.Errorf("write part %d: %w", number, err)
	}
	return strconv.Quote(tag), nil
}

func partName(number int, tag string) string { return fmt.Sprintf("%05d-%s", number, tag) }

// CompleteMultipartUpload makes the object of its parts. After an error it may be tried again.
func (f *files) CompleteMultipartUpload(ctx context.Context, bucket, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	dir, err := f.upload(id)
	if err != nil {
		return "", "", err
	}
	raw, err := os.ReadFile(filepath.Join(dir, metaFile)) // #nosec G304 -- the name is the server's own
	if err != nil {
		return "", "", gofakes3.ErrNoSuchUpload
	}
	meta := map[string]string{}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return "", "", fmt.Errorf("read upload: %w", err)
	}
	tag, err := f.join(bucket, key, meta, dir, in.Parts)
	if err != nil {
		return "", "", err
	}
	return "", strconv.Quote(tag), f.AbortMultipartUpload(ctx, bucket, key, id)
}

// join writes the object; its tag is the sum of the sums of its parts and their number, as S3 has it.
func (f *files) join(bucket, key string, meta map[string]string, dir string, parts []gofakes3.CompletedPart) (tag string, err error) {
	all := md5.New() // #nosec G401 -- see the import
	names := make([]string, len(parts))
	for i, p := range parts {
		sum, err := hex.DecodeString(strings.Trim(p.ETag, `"`))
		if err != nil || len(sum) != sumLen {
			return "", gofakes3.ErrInvalidPart
		}
		if i > 0 && p.PartNumber <= parts[i-1].PartNumber {
			return "", gofakes3.ErrInvalidPartOrder
		}
		_, _ = all.Write(sum)
		names[i] = filepath.Join(dir, partName(p.PartNumber, hex.EncodeToString(sum)))
		if _, err := os.Stat(names[i]); err != nil {
			return "", gofakes3.ErrInvalidPart
		}
	}
	sum := all.Sum(nil)
	raw, err := json.Marshal(meta)
	if err != nil {
		return "", fmt.Errorf("encode metadata: %w", err)
	}
	err = f.place(bucket, key, func(file *os.File) error {
		if err := writeHead(file, raw, sum); err != nil {
			return err
		}
		for _, name := range names {
			if err := appendFile(file, name); err != nil {
				return err
			}
		}
		return file.Sync()
	})
	return fmt.Sprintf("%x-%d", sum, len(parts)), err
}

func appendFile(to *os.File, name string) error {
	from, err := os.Open(name) // #nosec G304 -- the name is the server's own
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	_, err = io.Copy(to, from)
	return err
}

// AbortMultipartUpload forgets an upload.
func (f *files) AbortMultipartUpload(_ context.Context, _, _ string, id gofakes3.UploadID) error {
	dir, err := f.upload(id)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
