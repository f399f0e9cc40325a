// Package blob is supervisor's use of the object store: the final logs of attempts.
package blob

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
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
		return nil, fmt.Errorf("sign upload of %s: %w", key, err)
	}
	return u, nil
}

// Open returns the object from offset on.
func (s *Store) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, fmt.Errorf("read %s from %d: %w", key, offset, err)
		}
	}
	obj, err := s.Client.GetObject(ctx, s.Bucket, key, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return obj, nil
}

// Range returns a part of the object.
func (s *Store) Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if length == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	var o minio.GetObjectOptions
	if err := o.SetRange(offset, offset+length-1); err != nil {
		return nil, fmt.Errorf("read %d bytes of %s from %d: %w", length, key, offset, err)
	}
	obj, err := s.Client.GetObject(ctx, s.Bucket, key, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return obj, nil
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
			failed = fmt.Errorf("remove %s: %w", e.ObjectName, e.Err)
		}
	}
	return failed
}
