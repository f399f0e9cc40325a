package audit

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/formicary/internal/blobserver"
	"github.com/formicary/formicary/services/supervisor"
)

func sequence(all []stored, err error) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
		if err != nil {
			yield(stored{}, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	a, b, c := stored{"a", 1}, stored{"b", 2}, stored{"c", 3}
	for _, tt := range []struct {
		rows, objects []stored
		want          []string
	}{
		{nil, nil, nil},
		{[]stored{a, b, c}, []stored{a, b, c}, nil},
		{[]stored{a, b, c}, []stored{b}, []string{"artifact_has_object", "artifact_has_object"}},
		{[]stored{b}, []stored{a, b, c}, []string{"object_has_artifact", "object_has_artifact"}},
		{[]stored{a, c}, []stored{b, c}, []string{"artifact_has_object", "object_has_artifact"}},
		{[]stored{a, b}, []stored{a, {"b", 1}}, []string{"artifact_is_whole"}},
		{[]stored{a}, nil, []string{"artifact_has_object"}},
		{nil, []stored{a}, []string{"object_has_artifact"}},
	} {
		found, err := differences(sequence(tt.rows, nil), sequence(tt.objects, nil))
		var got []string
		for _, d := range found {
			got = append(got, artifacts.violation(d).Check)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%v and %v: %v, want %v; %v", tt.rows, tt.objects, got, tt.want, err)
		}
	}
	away := errors.New("away")
	if _, err := differences(sequence([]stored{a}, away), sequence([]stored{a}, nil)); !errors.Is(err, away) {
		t.Error(err)
	}
	if _, err := differences(sequence([]stored{a}, nil), sequence(nil, away)); !errors.Is(err, away) {
		t.Error(err)
	}
}

// Rows and objects that are parted on purpose are told, those of artifacts and of caches alike, and nothing else is.
func TestRowsAndObjects(t *testing.T) {
	server, err := blobserver.Start(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	s3 := colony.S3{Endpoint: server.Endpoint, AccessKey: server.AccessKey, SecretKey: server.SecretKey, Bucket: blobserver.Bucket}
	client, err := open(s3)
	if err != nil {
		t.Fatal(err)
	}
	pool := testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
	var want []string
	for _, k := range []kind{artifacts, caches} {
		for _, name := range []string{"whole", "under way", "without object", "without row", "cut"} {
			id := uuid.New()
			key := k.prefix + "o/" + id.String()
			insert := map[string]string{
				"artifact": `INSERT INTO artifact (id, org_id, kind, name, key, bytes, files, sha256, created_at, expires_at) VALUES ($1, 'o', 'USER', 'n', $2, $3, 1, '', now(), now())`,
				"cache": `INSERT INTO cache (id, org_id, job_type, key, request_id, task, object, bytes, raw_bytes, files, sha256, run_millis, created_at, expires_at, used_at)
					VALUES ($1, 'o', 'j', $1::uuid::text, $1, 't', $2, $3, 1, 1, '', 1, now(), now(), now())`,
			}[k.name]
			size := 4
			switch name {
			case "cut":
				size = 5
				want = append(want, k.name+"_is_whole")
			case "under way":
				insert = `INSERT INTO artifact_upload (id, org_id, name, key, store_id, given_at, bytes) VALUES ($1, 'o', 'n', $2, '', now(), $3)`
			case "without object":
				want = append(want, k.name+"_has_object")
			case "without row":
				want = append(want, "object_has_"+k.name)
			}
			if name != "without row" {
				_, err = pool.Exec(t.Context(), insert, id, key, size)
			}
			if name != "without object" && err == nil {
				_, err = client.PutObject(t.Context(), s3.Bucket, key, strings.NewReader("text"), 4, minio.PutObjectOptions{})
			}
			if err != nil {
				t.Fatalf("%s %s: %v", k.name, name, err)
			}
		}
	}
	var got []string
	for _, k := range []kind{artifacts, caches} {
		found, err := k.compare(t.Context(), pool, s3)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range found {
			got = append(got, v.Check)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
