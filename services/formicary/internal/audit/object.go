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

// stored is an artifact as its row or its object tells it.
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

func (d difference) violation() audit.Violation {
	switch {
	case d.object == missing:
		return audit.Violation{Check: "artifact_has_object", Detail: "an artifact has no object: " + d.key}
	case d.row == missing:
		return audit.Violation{Check: "object_has_artifact", Detail: "nothing names the object " + d.key}
	}
	return audit.Violation{Check: "artifact_is_whole", Detail: fmt.Sprintf("the object %s has %d bytes, its artifact %d", d.key, d.object, d.row)}
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

// compareArtifacts compares the rows of artifacts with the object store. The two are never of one instant, so what differs is
// looked at again by itself.
func compareArtifacts(ctx context.Context, execution *pgxpool.Pool, s3 colony.S3) ([]audit.Violation, error) {
	client, err := minio.New(s3.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, ""), Secure: s3.Secure, Region: region})
	if err != nil {
		return nil, fmt.Errorf("open the object store: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the listing ends, also when it is not read to its end
	first, err := differences(artifactRows(ctx, execution), artifactObjects(ctx, client, s3.Bucket))
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
		again, err := lookAgain(ctx, execution, client, s3.Bucket, d.key)
		if err != nil {
			return found, err
		}
		if again.row == again.object {
			continue
		}
		if found = append(found, again.violation()); len(found) == mostOfAKind {
			break
		}
	}
	return found, nil
}

func artifactRows(ctx context.Context, pool *pgxpool.Pool) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		rows, err := pool.Query(ctx, `SELECT key, bytes FROM artifact ORDER BY key COLLATE "C"`)
		if err != nil {
			yield(stored{}, fmt.Errorf("read artifacts: %w", err))
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
			yield(stored{}, fmt.Errorf("read artifacts: %w", err))
		}
	}
}

func artifactObjects(ctx context.Context, client *minio.Client, bucket string) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		for o := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "artifacts/", Recursive: true}) {
			if o.Err != nil {
				yield(stored{}, fmt.Errorf("list the objects of artifacts: %w", o.Err))
				return
			}
			if !yield(stored{o.Key, o.Size}, nil) {
				return
			}
		}
	}
}

// lookAgain returns what the row and the object of a key say now. An object whose upload is under way has a right to be there.
func lookAgain(ctx context.Context, pool *pgxpool.Pool, client *minio.Client, bucket, key string) (difference, error) {
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
	err = pool.QueryRow(ctx, `SELECT bytes FROM artifact WHERE id = $1 AND key = $2
		UNION ALL SELECT $3 FROM artifact_upload WHERE id = $1 AND key = $2 LIMIT 1`, id, key, d.object).Scan(&d.row)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("look at %s: %w", key, err)
	}
	return d, nil
}
