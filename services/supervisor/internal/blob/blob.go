// Package blob is supervisor's use of the object store: the final logs of attempts, and artifacts.
package blob

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/formicary/formicary/libs/errs"
)

// Store is one bucket. Its client must know the region: signing an address then asks nobody.
type Store struct {
	Client *minio.Client
	Bucket string
}

// SignPut returns an address for one upload.
func (s *Store) SignPut(ctx context.Context, key string, valid time.Duration) (*url.URL, error) {
	u, err := s.Client.PresignedPutObject(ctx, s.Bucket, key, valid)
	if err != nil {
		return nil, fault("sign upload of", key, err)
	}
	return u, nil
}

// Open returns the object from offset on.
func (s *Store) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, fault("read", key, err)
		}
	}
	obj, err := s.Client.GetObject(ctx, s.Bucket, key, o)
	if err != nil {
		return nil, fault("open", key, err)
	}
	return &object{obj, key}, nil
}

// Remove deletes objects; those that do not exist are no fault.
func (s *Store) Remove(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // whoever feeds ends, also when nobody reads on
	objects := make(chan minio.ObjectInfo)
	go func() {
		defer close(objects)
		for _, key := range keys {
			select {
			case objects <- minio.ObjectInfo{Key: key}:
			case <-ctx.Done():
				return
			}
		}
	}()
	var failed error
	for e := range s.Client.RemoveObjects(ctx, s.Bucket, objects, minio.RemoveObjectsOptions{}) {
		if failed == nil {
			failed = fault("remove", e.ObjectName, e.Err)
		}
	}
	return failed
}

// The objects of artifacts. They are uploaded in parts, so that a cut connection costs one part.

// BeginParts begins an upload in parts.
func (s *Store) BeginParts(ctx context.Context, key string) (string, error) {
	id, err := s.core().NewMultipartUpload(ctx, s.Bucket, key, minio.PutObjectOptions{})
	if err != nil {
		return "", fault("begin upload of", key, err)
	}
	return id, nil
}

func (s *Store) core() minio.Core { return minio.Core{Client: s.Client} }

// SignPart returns an address for one part.
func (s *Store) SignPart(ctx context.Context, key, id string, number int, valid time.Duration) (*url.URL, error) {
	u, err := s.Client.Presign(ctx, http.MethodPut, s.Bucket, key, valid, url.Values{"uploadId": {id}, "partNumber": {strconv.Itoa(number)}})
	if err != nil {
		return nil, fault("sign a part of", key, err)
	}
	return u, nil
}

// JoinParts makes an object of its parts and returns its size. That it was made by an earlier call is no error.
func (s *Store) JoinParts(ctx context.Context, key, id string, etags []string) (int64, error) {
	parts := make([]minio.CompletePart, len(etags))
	for i, tag := range etags {
		parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: tag}
	}
	_, err := s.core().CompleteMultipartUpload(ctx, s.Bucket, key, id, parts, minio.PutObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
		return 0, fault("complete upload of", key, err)
	}
	info, stat := s.Client.StatObject(ctx, s.Bucket, key, minio.StatObjectOptions{})
	if stat != nil {
		return 0, fault("complete upload of", key, errors.Join(err, stat))
	}
	return info.Size, nil
}

// AbortParts forgets an upload in parts; one that does not exist is no fault.
func (s *Store) AbortParts(ctx context.Context, key, id string) error {
	err := s.core().AbortMultipartUpload(ctx, s.Bucket, key, id)
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
		return fault("abort upload of", key, err)
	}
	return nil
}

// SignGet returns an address to read an object.
func (s *Store) SignGet(ctx context.Context, key string, valid time.Duration) (*url.URL, error) {
	u, err := s.Client.PresignedGetObject(ctx, s.Bucket, key, valid, nil)
	if err != nil {
		return nil, fault("sign reading of", key, err)
	}
	return u, nil
}

// Range reads n bytes of an object from off on.
func (s *Store) Range(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if n <= 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	var o minio.GetObjectOptions
	if err := o.SetRange(off, off+n-1); err != nil {
		return nil, fault("read", key, err)
	}
	body, _, _, err := s.core().GetObject(ctx, s.Bucket, key, o)
	switch {
	case isMissing(err):
		return nil, errs.NotFound("OBJECT_NOT_FOUND", "its bytes are not in the object store (any more)")
	case err != nil:
		return nil, fault("read", key, err)
	}
	return body, nil
}

// Has says whether an object is there.
func (s *Store) Has(ctx context.Context, key string) (bool, error) {
	_, err := s.Client.StatObject(ctx, s.Bucket, key, minio.StatObjectOptions{})
	if err != nil && !isMissing(err) {
		return false, fault("look for", key, err)
	}
	return err == nil, nil
}

func isMissing(err error) bool {
	return err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey
}

// putPart is how much of a stream is held in memory while it is stored.
const putPart = 8 << 20

// Put stores a stream.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	_, err := s.Client.PutObject(ctx, s.Bucket, key, r, -1, minio.PutObjectOptions{PartSize: putPart, NumThreads: 1, DisableContentSha256: true})
	if err != nil {
		return fault("store", key, err)
	}
	return nil
}
