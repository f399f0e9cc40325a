package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/colony"
)

// region is fixed so that the client never has to ask the store for it.
const region = "us-east-1"

// kind is what has a row and an object each.
type kind struct {
	name, prefix string
	rows         string // all, in the order of the keys of their objects
	row          string // that of an id and a key, or the upload that it has been, or will be, which has a right to any size
}

// kinds are constants.
var (
	artifacts = kind{"artifact", "artifacts/", `SELECT key, bytes FROM artifact ORDER BY key COLLATE "C"`, //nolint:gochecknoglobals // see above
		`SELECT bytes FROM artifact WHERE id = $1 AND key = $2
		UNION ALL SELECT $3 FROM artifact_upload WHERE id = $1 AND key = $2 LIMIT 1`}
	caches = kind{"cache", "caches/", `SELECT object, bytes FROM cache ORDER BY object COLLATE "C"`, //nolint:gochecknoglobals // see above
		`SELECT bytes FROM cache WHERE id = $1 AND object = $2
		UNION ALL SELECT $3 FROM artifact_upload WHERE id = $1 AND key = $2 LIMIT 1`}
)

// stored is an artifact, or a cache, as its row or its object tells it.
type stored struct {
	key   string
	bytes int64
}

// difference between the rows and the objects: one of them is missing when its size is negative.
type difference struct {
	key         string
	row, object int64
}

const (
	missing = -1
	// mostLooks bounds what is looked at again: objects of uploads that are under way, or not tidied yet, differ rightly.
	mostLooks = 10_000
)

func (k kind) violation(d difference) audit.Violation {
	switch {
	case d.object == missing:
		return audit.Violation{Check: k.name + "_has_object", Detail: "the object of the " + k.name + " is missing: " + d.key}
	case d.row == missing:
		return audit.Violation{Check: "object_has_" + k.name, Detail: "nothing names the object " + d.key}
	}
	return audit.Violation{Check: k.name + "_is_whole", Detail: fmt.Sprintf("the object %s has %d bytes, its %s %d", d.key, d.object, k.name, d.row)}
}

// differences walks both, which come in the order of their keys.
func differences(rows, objects iter.Seq2[stored, error]) (found []difference, err error) {
	nextRow, stopRows := iter.Pull2(rows)
	defer stopRows()
	nextObject, stopObjects := iter.Pull2(objects)
	defer stopObjects()
	r, err, more := nextRow()
	o, failed, others := nextObject()
	for more || others {
		if err = errors.Join(err, failed); err != nil {
			return found, err
		}
		d := difference{o.key, missing, o.bytes}
		behind := more && (!others || r.key <= o.key)
		if behind {
			d = difference{r.key, r.bytes, missing}
			if others && r.key == o.key {
				d.object = o.bytes
			}
		}
		if !behind || others && r.key == o.key {
			o, failed, others = nextObject()
		}
		if behind {
			r, err, more = nextRow()
		}
		if d.row != d.object && len(found) < mostLooks {
			found = append(found, d)
		}
	}
	return found, nil
}

func open(s3 colony.S3) (*minio.Client, error) {
	client, err := minio.New(s3.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, ""), Secure: s3.Secure, Region: region})
	if err != nil {
		return nil, fmt.Errorf("open the object store: %w", err)
	}
	return client, nil
}

// compare compares the rows of a kind with the object store. The two are never of one instant, so what differs is
// looked at again by itself.
func (k kind) compare(ctx context.Context, execution *pgxpool.Pool, s3 colony.S3) ([]audit.Violation, error) {
	client, err := open(s3)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the listing ends, also when it is not read to its end
	first, err := differences(k.allRows(ctx, execution), k.objects(ctx, client, s3.Bucket))
	if err != nil || len(first) == 0 {
		return nil, err
	}
	select {
	case <-time.After(secondLook):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var found []audit.Violation
	for _, d := range first {
		again, err := k.lookAgain(ctx, execution, client, s3.Bucket, d.key)
		if err != nil {
			return found, err
		}
		if again.row == again.object {
			continue
		}
		if found = append(found, k.violation(again)); len(found) == mostOfAKind {
			break
		}
	}
	return found, nil
}

func (k kind) allRows(ctx context.Context, pool *pgxpool.Pool) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		rows, err := pool.Query(ctx, k.rows)
		if err != nil {
			yield(stored{}, fmt.Errorf("read the rows of %ss: %w", k.name, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var s stored
			if err := rows.Scan(&s.key, &s.bytes); !yield(s, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(stored{}, fmt.Errorf("read the rows of %ss: %w", k.name, err))
		}
	}
}

func (k kind) objects(ctx context.Context, client *minio.Client, bucket string) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		for o := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: k.prefix, Recursive: true}) {
			if o.Err != nil {
				yield(stored{}, fmt.Errorf("list the objects of %ss: %w", k.name, o.Err))
				return
			}
			if !yield(stored{o.Key, o.Size}, nil) {
				return
			}
		}
	}
}

// lookAgain returns what the row and the object of a key say now. An object whose upload is under way has a right to be there.
func (k kind) lookAgain(ctx context.Context, pool *pgxpool.Pool, client *minio.Client, bucket, key string) (difference, error) {
	d := difference{key, missing, missing}
	info, err := client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	switch {
	case err == nil:
		d.object = info.Size
	case minio.ToErrorResponse(err).Code != "NoSuchKey":
		return d, fmt.Errorf("look at %s: %w", key, err)
	}
	id, err := uuid.Parse(path.Base(key))
	if err != nil {
		return d, nil //nolint:nilerr // nobody's name for an object
	}
	err = pool.QueryRow(ctx, k.row, id, key, d.object).Scan(&d.row)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("look at %s: %w", key, err)
	}
	return d, nil
}
