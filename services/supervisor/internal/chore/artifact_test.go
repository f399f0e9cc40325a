package chore

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

func over(n int, org string) []artifact.Artifact {
	all := make([]artifact.Artifact, n)
	for i := range all {
		all[i] = artifact.Artifact{ID: uuid.New(), Org: org, Key: fmt.Sprint(org, "/", i)}
	}
	return all
}

// EXPIRE_ARTIFACTS deletes what is over and counts what was of its own organisation.
func TestArtifactsExpireByChore(t *testing.T) {
	m := &memory{chores: []Chore{{Org: "a"}}, artifacts: slices.Concat(over(700, "a"), over(3, "b"))}
	if err := New(m, m, 100, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.artifacts) != 0 || m.removed != 703 || m.applied[0].Child.Outputs["expired"] != "700" {
		t.Errorf("%d left, %d removed, %+v", len(m.artifacts), m.removed, m.applied)
	}
}

// What is over goes unasked, and so do uploads that became nothing; a row stays as long as its object may.
func TestTidyArtifacts(t *testing.T) {
	m := &memory{artifacts: over(1, "a"), begun: []artifact.Upload{{ID: uuid.New(), Key: "parts", StoreID: "1"}, {ID: uuid.New(), Key: "whole"}}}
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	m.away = errors.New("away")
	if err := l.tidyArtifacts(t.Context()); err == nil || len(m.artifacts) != 1 {
		t.Errorf("%v, %d left", err, len(m.artifacts))
	}
	m.away, m.keys, m.aborted = nil, nil, nil
	if err := l.tidyArtifacts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.keys, []string{"a/0", "parts", "whole"}) || !slices.Equal(m.aborted, []string{"parts"}) || len(m.begun) != 0 || len(m.artifacts) != 0 {
		t.Errorf("removed %q, aborted %q, left %v %v", m.keys, m.aborted, m.begun, m.artifacts)
	}
}

// Caches that are too much lose their rows, then their objects; those that cannot be deleted now are uploads that became nothing.
func TestTidyCaches(t *testing.T) {
	m := &memory{caches: make([]artifact.Upload, 700)}
	for i := range m.caches {
		m.caches[i] = artifact.Upload{ID: uuid.New(), Key: fmt.Sprint("caches/", i)}
	}
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	m.away = errors.New("away")
	if err := l.TidyCaches(t.Context()); !errors.Is(err, m.away) || len(m.begun) != batchSize || len(m.caches) != 200 {
		t.Errorf("%v, %d uploads, %d caches", err, len(m.begun), len(m.caches))
	}
	m.away, m.removed = nil, 0
	if err := l.TidyCaches(t.Context()); err != nil || m.removed != 200 || len(m.begun) != batchSize || m.quotas[0] != 100 {
		t.Errorf("%v, %d removed, %d uploads, quotas %v", err, m.removed, len(m.begun), m.quotas)
	}
}

// What the object store refuses to delete stays; all that is behind it goes, however much is refused.
func TestRefusedObjectsKeepNothingElse(t *testing.T) {
	mixed := func(n int, make func(key string)) {
		for i := range n {
			make(fmt.Sprint("bad/", i))
		}
		for i := range n {
			make(fmt.Sprint("good/", i))
		}
	}
	const n = batchSize - 1 // the second batch is behind nothing but what is refused
	m := &memory{bad: "bad", chores: []Chore{{Org: "a"}}}
	mixed(n, func(key string) {
		m.artifacts = append(m.artifacts, artifact.Artifact{ID: uuid.New(), Org: "a", Key: key})
		m.begun = append(m.begun, artifact.Upload{ID: uuid.New(), Key: key, StoreID: "s"})
		m.caches = append(m.caches, artifact.Upload{ID: uuid.New(), Key: key})
		m.logs = append(m.logs, Log{UID: uuid.New(), Key: key, Ended: time.Unix(int64(len(m.logs)), 0)})
		m.uploads = append(m.uploads, Upload{Mark: Mark{UID: uuid.New()}, Key: key})
	})
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	if err := l.Round(t.Context()); err != nil || len(m.artifacts) != n || m.applied[0].Child.State != "COMPLETED" {
		t.Errorf("expired by a chore: %v, %d artifacts left, %+v", err, len(m.artifacts), m.applied)
	}
	if err := l.Tidy(t.Context()); len(m.begun) != n || len(m.forgot) != n {
		t.Errorf("tidied: %v, %d uploads left, %d logs forgotten", err, len(m.begun), len(m.forgot))
	}
	if err := l.TidyCaches(t.Context()); err != nil || len(m.begun) != 2*n {
		t.Errorf("caches: %v, %d left", err, len(m.begun))
	}
}
