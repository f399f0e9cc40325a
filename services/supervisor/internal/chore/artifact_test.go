package chore

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

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
	m := &memory{artifacts: over(1, "a"), begun: []artifact.Upload{{Key: "parts", StoreID: "1"}, {Key: "whole"}}}
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	m.away = errors.New("away")
	if err := l.tidyArtifacts(t.Context()); err == nil || len(m.artifacts) != 1 {
		t.Errorf("%v, %d left", err, len(m.artifacts))
	}
	m.away, m.keys = nil, nil
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
	if err := l.TidyCaches(t.Context()); err != nil || m.removed != 200 || len(m.begun) != 0 || m.quotas[0] != 100 {
		t.Errorf("%v, %d removed, %d uploads, quotas %v", err, m.removed, len(m.begun), m.quotas)
	}
}
