package chore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

func TestRetention(t *testing.T) {
	for params, want := range map[string]float64{
		"": 30, "{}": 30, `{"retention_days":7}`: 7, `{"retention_days":"0.5"}`: 0.5, `{"retention_days":0}`: 0, `{"other":1}`: 30,
	} {
		if got, err := retention([]byte(params)); err != nil || got != want {
			t.Errorf("%s: %v, %v", params, got, err)
		}
	}
	for _, bad := range []string{`{`, `{"retention_days":-1}`, `{"retention_days":"soon"}`, `{"retention_days":"NaN"}`, `{"retention_days":1e300}`} {
		if _, err := retention([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// memory is a store and a bucket.
type memory struct {
	chores   []Chore
	logs     []Log
	removed  int
	away     error
	unwanted bool
	ended    []child.Key // that nobody waits for
	renewed  []time.Duration
	applied  []execution.Event
	froms    []time.Time // that old logs were looked for
	uploads  []Upload
	forgot   []uuid.UUID
	keys     []string // that were removed
	tidied   int
	pages    int // of outputs

	artifacts []artifact.Artifact // that are over
	begun     []artifact.Upload
	aborted   []string
	caches    []artifact.Upload // that are too much
	quotas    []int64

	bad string // what keys begin with that the bucket refuses to delete
}

func (m *memory) Now() time.Time { return time.Unix(0, 0) }

func (m *memory) TakeChores(context.Context, time.Duration, int) ([]Chore, error) {
	c := m.chores
	m.chores = nil
	return c, nil
}

func (m *memory) TakeUnwanted(context.Context, time.Duration, int) ([]child.Key, error) {
	k := m.ended
	m.ended = nil
	return k, nil
}

func (m *memory) RenewChore(_ context.Context, _ child.Key, _ int, lease time.Duration) (bool, error) {
	m.renewed = append(m.renewed, lease)
	return !m.unwanted, nil
}

func (m *memory) OldLogs(_ context.Context, _ string, after Mark, _ time.Time, limit int) ([]Log, error) {
	m.froms = append(m.froms, after.At)
	old := slices.DeleteFunc(slices.Clone(m.logs), func(x Log) bool { return !x.Ended.After(after.At) })
	return old[:min(limit, len(old))], nil
}

func (m *memory) Uploads(_ context.Context, after Mark, _ time.Duration, limit int) ([]Upload, error) {
	from := 0
	if after != (Mark{}) {
		from = 1 + slices.IndexFunc(m.uploads, func(u Upload) bool { return u.Mark == after })
	}
	return m.uploads[from:min(from+limit, len(m.uploads))], nil
}

func (m *memory) OldUploads(_ context.Context, _ time.Duration, skip, limit int) ([]artifact.Upload, error) {
	return slices.Clone(m.begun[skip:min(len(m.begun), skip+limit)]), nil
}

func (m *memory) ForgetArtifactUploads(_ context.Context, ids []uuid.UUID) error {
	m.begun = slices.DeleteFunc(m.begun, func(u artifact.Upload) bool { return slices.Contains(ids, u.ID) })
	return nil
}

func (m *memory) ExpiredArtifacts(_ context.Context, skip, limit int) ([]artifact.Artifact, error) {
	return slices.Clone(m.artifacts[skip:min(len(m.artifacts), skip+limit)]), nil
}

func (m *memory) ForgetArtifacts(_ context.Context, ids []uuid.UUID) error {
	m.artifacts = slices.DeleteFunc(m.artifacts, func(a artifact.Artifact) bool { return slices.Contains(ids, a.ID) })
	return nil
}

func (m *memory) DropCaches(_ context.Context, quota int64, limit int) ([]artifact.Upload, error) {
	gone := m.caches[:min(limit, len(m.caches))]
	m.caches, m.quotas, m.begun = m.caches[len(gone):], append(m.quotas, quota), append(m.begun, gone...)
	return gone, nil
}

func (m *memory) AbortParts(_ context.Context, key, _ string) error {
	if m.refuses(key) {
		return errRefused
	}
	m.aborted = append(m.aborted, key)
	return nil
}

func (m *memory) ForgetUploads(_ context.Context, uids []uuid.UUID) error {
	m.forgot = append(m.forgot, uids...)
	return nil
}

func (m *memory) ForgetOutputs(context.Context, uuid.UUID, time.Duration, int) (uuid.UUID, error) {
	if m.tidied++; m.tidied < m.pages {
		return uuid.New(), nil
	}
	return uuid.Nil, nil
}

func (m *memory) ForgetLogs(_ context.Context, uids []uuid.UUID) error {
	m.logs = slices.DeleteFunc(m.logs, func(x Log) bool { return slices.Contains(uids, x.UID) })
	return nil
}

func (m *memory) Remove(_ context.Context, keys []string) error {
	if slices.ContainsFunc(keys, m.refuses) {
		return errRefused
	}
	m.removed += len(keys)
	m.keys = append(m.keys, keys...)
	return m.away
}

var errRefused = errors.New("refused")

func (m *memory) refuses(key string) bool { return m.bad != "" && strings.HasPrefix(key, m.bad) }

func (m *memory) Step(_ context.Context, events []execution.Event) ([]execution.Verdict, error) {
	m.applied = append(m.applied, events...)
	return nil, nil
}

func logs(n int) []Log {
	all := make([]Log, n)
	for i := range all {
		all[i] = Log{UID: uuid.New(), Key: fmt.Sprint("logs/", i), Ended: time.Unix(int64(i), 0)}
	}
	return all
}

func TestLogsExpireInBatches(t *testing.T) {
	m := &memory{chores: []Chore{{Done: 3}}, logs: logs(1234)}
	if err := New(m, m, 100, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.removed != 1234 || len(m.logs) != 0 || len(m.renewed) != 2 {
		t.Errorf("%d removed, %d left, renewed %v", m.removed, len(m.logs), m.renewed)
	}
	if want := []time.Time{{}, time.Unix(499, 0), time.Unix(999, 0)}; !slices.Equal(m.froms, want) {
		t.Errorf("looked from %v", m.froms)
	}
	if got := m.applied[0].Child; got.State != "COMPLETED" || got.Outputs["expired"] != "1237" {
		t.Errorf("%+v", got)
	}
}

func TestAChoreWaitsForItsStore(t *testing.T) {
	m := &memory{chores: []Chore{{Tries: 3}}, logs: logs(1), away: errors.New("away")}
	if err := New(m, m, 100, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.applied) != 0 || len(m.logs) != 1 || len(m.renewed) != 1 || m.renewed[0] != 4*time.Second {
		t.Errorf("%v, %d logs, renewed %v", m.applied, len(m.logs), m.renewed)
	}
}

func TestAChoreThatNobodyWaitsForStops(t *testing.T) {
	m := &memory{chores: []Chore{{}}, logs: logs(1200), unwanted: true}
	if err := New(m, m, 100, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil || m.removed != 500 || len(m.applied) != 0 {
		t.Errorf("%d removed, %v, %v", m.removed, m.applied, err)
	}
}

func TestAChoreThatCannotBeReadFails(t *testing.T) {
	m := &memory{chores: []Chore{{Params: []byte(`{"retention_days":"soon"}`)}}}
	if err := New(m, m, 100, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.applied[0].Child; got.State != "FAILED" || got.Message == "" {
		t.Errorf("%+v", got)
	}
}

func TestAChoreThatNobodyWaitsForEndsByAnEvent(t *testing.T) {
	m := &memory{ended: []child.Key{{Idx: 4, Round: 1}}}
	if err := New(m, m, 100, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.applied) != 1 || m.applied[0].Kind != execution.ChildEnded || m.applied[0].Idx != 4 || m.applied[0].Child.State != "CANCELLED" {
		t.Errorf("applied %+v", m.applied)
	}
}

// A large chore gives the others their turn and goes on where it was.
func TestALargeChoreIsDoneInTurns(t *testing.T) {
	m := &memory{chores: []Chore{{}}, logs: logs(6000)}
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	if err := l.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.removed != 10*batchSize || len(m.applied) != 0 || m.renewed[len(m.renewed)-1] != 0 {
		t.Fatalf("%d removed, %d applied, renewed %v", m.removed, len(m.applied), m.renewed)
	}
	m.chores = []Chore{{Done: m.removed}}
	if err := l.Round(t.Context()); err != nil || len(m.applied) != 1 || m.applied[0].Child.Outputs["expired"] != "6000" {
		t.Errorf("%+v, %v", m.applied, err)
	}
}

func TestObjectsThatNothingNamesAreDeleted(t *testing.T) {
	m := &memory{pages: 3}
	for i := range 1200 {
		u := Upload{Mark: Mark{At: time.Unix(int64(i), 0), UID: uuid.New()}, Key: fmt.Sprint("logs/", i)}
		u.Live, u.Named = i%3 == 1, i%3 == 2
		m.uploads = append(m.uploads, u)
	}
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	if err := l.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.keys) != 400 || m.keys[1] != "logs/3" || len(m.forgot) != 800 || !slices.Contains(m.forgot, m.uploads[2].UID) || m.tidied != 3 {
		t.Errorf("%d objects removed, %d uploads forgotten, %d pages of outputs", len(m.keys), len(m.forgot), m.tidied)
	}
	m.away, m.forgot, l.dropped = errors.New("away"), nil, Mark{}
	if err := l.Tidy(t.Context()); err == nil || len(m.forgot) != 0 {
		t.Errorf("%v, %d uploads forgotten", err, len(m.forgot))
	}
}

// A colony ends thousands of runs between two rounds, and storage that is away keeps none of their outputs.
func TestEveryRoundForgetsAllOldOutputs(t *testing.T) {
	m := &memory{pages: 1000, away: errors.New("away"), uploads: []Upload{{Mark: Mark{UID: uuid.New()}, Key: "k"}}}
	l := New(m, m, 100, slog.New(slog.DiscardHandler))
	if err := l.Tidy(t.Context()); !errors.Is(err, m.away) || m.tidied != 1000 {
		t.Errorf("%v, %d pages of outputs", err, m.tidied)
	}
}
