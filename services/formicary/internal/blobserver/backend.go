package blobserver

import (
	"context"
	"crypto/md5" // #nosec G501 -- the ETag of S3 is the MD5 of the body
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/rclone/gofakes3"
)

// files implements gofakes3.Backend over a directory: one folder per bucket, one file per object.
//
// An object's file begins with a header (16 bytes of its ETag, 4 bytes length, the metadata as JSON), then the body. It is
// written beside its place, synced and renamed, so that a crash leaves the old object or the new one.
type files struct {
	dir string

	mu      sync.Mutex
	uploads map[gofakes3.UploadID]*upload // in parts
}

const (
	sumLen    = md5.Size
	headLen   = sumLen + 4
	maxMeta   = 64 << 10
	tempStart = ".new-"
)

// path maps a key to a file: folders begin with '+', objects with '@', so that "a" and "a/b" can both exist.
func (f *files) path(bucket, key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		sign := "+"
		if i == len(parts)-1 {
			sign = "@"
		}
		parts[i] = sign + url.PathEscape(p)
	}
	return filepath.Join(f.dir, bucket, filepath.Join(parts...))
}

func (f *files) ListBuckets(context.Context) ([]gofakes3.BucketInfo, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list buckets: %w", err)
	}
	var out []gofakes3.BucketInfo
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		out = append(out, gofakes3.BucketInfo{Name: e.Name(), CreationDate: gofakes3.NewContentTime(info.ModTime())})
	}
	return out, nil
}

func (f *files) ListBucket(ctx context.Context, name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if ok, _ := f.BucketExists(ctx, name); !ok {
		return nil, gofakes3.BucketNotFound(name)
	}
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	p := *prefix
	if p.Delimiter == "" {
		p.HasDelimiter = false // clients send an empty delimiter and mean none
	}
	keys, err := f.keys(name)
	if err != nil {
		return nil, err
	}
	limit := page.MaxKeys
	if limit <= 0 {
		limit = 1000
	}
	list := gofakes3.NewObjectList()
	count := int64(0)
	var match gofakes3.PrefixMatch
	for _, key := range keys {
		if page.HasMarker && key <= page.Marker || !p.Match(key, &match) {
			continue
		}
		if count == limit {
			list.IsTruncated = true
			break
		}
		count++
		list.NextMarker = key
		if match.CommonPrefix {
			list.AddPrefix(match.MatchedPart)
			continue
		}
		obj, err := f.HeadObject(ctx, name, key)
		if err != nil {
			continue // removed meanwhile
		}
		info, err := os.Stat(f.path(name, key))
		if err != nil {
			continue
		}
		list.Add(&gofakes3.Content{
			Key: key, Size: obj.Size, ETag: fmt.Sprintf("%q", fmt.Sprintf("%x", obj.Hash)),
			LastModified: gofakes3.NewContentTime(info.ModTime()),
		})
	}
	if !list.IsTruncated {
		list.NextMarker = ""
	}
	return list, nil
}

// keys returns every key of a bucket in byte order.
func (f *files) keys(bucket string) ([]string, error) {
	root := filepath.Join(f.dir, bucket)
	var keys []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || !strings.HasPrefix(d.Name(), "@") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		parts := strings.Split(rel, string(filepath.Separator))
		for i, p := range parts {
			if parts[i], err = url.PathUnescape(p[1:]); err != nil {
				return err
			}
		}
		keys = append(keys, strings.Join(parts, "/"))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list bucket %s: %w", bucket, err)
	}
	sort.Strings(keys)
	return keys, nil
}

func (f *files) CreateBucket(_ context.Context, name string) error {
	err := os.Mkdir(filepath.Join(f.dir, name), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	return err
}

func (f *files) BucketExists(_ context.Context, name string) (bool, error) {
	info, err := os.Stat(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

func (f *files) DeleteBucket(ctx context.Context, name string) error {
	if ok, _ := f.BucketExists(ctx, name); !ok {
		return gofakes3.BucketNotFound(name)
	}
	keys, err := f.keys(name)
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	return os.RemoveAll(filepath.Join(f.dir, name))
}

// open reads the header and leaves the file at the first byte of the body.
func (f *files) open(bucket, key string) (*os.File, *gofakes3.Object, error) {
	file, err := os.Open(f.path(bucket, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, gofakes3.KeyNotFound(key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open object %s: %w", key, err)
	}
	obj, err := readHeader(file, key)
	if err != nil {
		_ = file.Close()
		return nil, nil, fmt.Errorf("read object %s: %w", key, err)
	}
	return file, obj, nil
}

func readHeader(file *os.File, key string) (*gofakes3.Object, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(file, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[sumLen:])
	if n > maxMeta {
		return nil, fmt.Errorf("metadata of %d bytes", n)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(file, raw); err != nil {
		return nil, err
	}
	meta := map[string]string{}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &gofakes3.Object{
		Name: key, Metadata: meta, Hash: head[:sumLen:sumLen], Size: info.Size() - headLen - int64(n),
	}, nil
}

func (f *files) GetObject(_ context.Context, bucket, key string, want *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	file, obj, err := f.open(bucket, key)
	if err != nil {
		return nil, err
	}
	rng, err := want.Range(obj.Size)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	body := struct {
		io.Reader
		io.Closer
	}{file, file}
	if rng != nil {
		if _, err := file.Seek(rng.Start, io.SeekCurrent); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("seek object %s: %w", key, err)
		}
		body.Reader = io.LimitReader(file, rng.Length)
	}
	obj.Range, obj.Contents = rng, body
	return obj, nil
}

func (f *files) HeadObject(_ context.Context, bucket, key string) (*gofakes3.Object, error) {
	file, obj, err := f.open(bucket, key)
	if err != nil {
		return nil, err
	}
	obj.Contents = io.NopCloser(strings.NewReader(""))
	return obj, file.Close()
}

func (f *files) DeleteObject(_ context.Context, bucket, key string) (gofakes3.ObjectDeleteResult, error) {
	err := os.Remove(f.path(bucket, key))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return gofakes3.ObjectDeleteResult{}, err
}

func (f *files) DeleteMulti(ctx context.Context, bucket string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var out gofakes3.MultiDeleteResult
	for _, key := range keys {
		if _, err := f.DeleteObject(ctx, bucket, key); err != nil {
			out.Error = append(out.Error, gofakes3.ErrorResult{Code: gofakes3.ErrInternal, Message: err.Error(), Key: key})
			continue
		}
		out.Deleted = append(out.Deleted, gofakes3.ObjectID{Key: key})
	}
	return out, nil
}

func (f *files) PutObject(ctx context.Context, bucket, key string, meta map[string]string, body io.Reader, size int64) (gofakes3.PutObjectResult, error) {
	if ok, _ := f.BucketExists(ctx, bucket); !ok {
		return gofakes3.PutObjectResult{}, gofakes3.BucketNotFound(bucket)
	}
	raw, err := encodeMeta(meta)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	return gofakes3.PutObjectResult{}, f.place(bucket, key, func(file *os.File) error { return writeObject(file, raw, body, size) })
}

func encodeMeta(meta map[string]string) ([]byte, error) {
	raw, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	if len(raw) > maxMeta {
		return nil, gofakes3.ErrMetadataTooLarge
	}
	return raw, nil
}

// place writes an object beside its place and moves it there.
func (f *files) place(bucket, key string, write func(*os.File) error) error {
	path := f.path(bucket, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder of object %s: %w", key, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), tempStart)
	if err != nil {
		return fmt.Errorf("create object %s: %w", key, err)
	}
	err = write(temp)
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("write object %s: %w", key, err)
	}
	return nil
}

// move makes a file the object of a key.
func (f *files) move(name, bucket, key string) error {
	path := f.path(bucket, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.Rename(name, path)
}

// header returns the header of an object.
func header(meta, sum []byte) []byte {
	head := make([]byte, headLen, headLen+len(meta))
	copy(head, sum)
	binary.BigEndian.PutUint32(head[sumLen:], uint32(len(meta))) // #nosec G115 -- at most maxMeta
	return append(head, meta...)
}

// writeObject writes header and body; the sum goes in last, when it is known.
func writeObject(file *os.File, meta []byte, body io.Reader, size int64) error {
	if _, err := file.Write(header(meta, nil)); err != nil {
		return err
	}
	sum := md5.New() // #nosec G401 -- see the import
	n, err := io.Copy(io.MultiWriter(file, sum), body)
	if err != nil {
		return err
	}
	if n != size {
		return gofakes3.ErrIncompleteBody
	}
	if _, err := file.WriteAt(sum.Sum(nil), 0); err != nil {
		return err
	}
	return file.Sync()
}

func (f *files) CopyObject(ctx context.Context, srcBucket, srcKey, dstBucket, dstKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	obj, err := f.GetObject(ctx, srcBucket, srcKey, nil)
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	defer func() { _ = obj.Contents.Close() }()
	if _, err := f.PutObject(ctx, dstBucket, dstKey, meta, obj.Contents, obj.Size); err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	return gofakes3.CopyObjectResult{
		ETag: fmt.Sprintf("%q", fmt.Sprintf("%x", obj.Hash)), LastModified: gofakes3.NewContentTime(time.Now()),
	}, nil
}
