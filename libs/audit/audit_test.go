package audit_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestRunReportsEveryViolation(t *testing.T) {
	pool := slots(t)
	checks := []audit.Check{
		{Name: "never_negative", SQL: "SELECT 'slot ' || id FROM slot WHERE used < 0 ORDER BY id LIMIT 20"},
		{Name: "has_id", SQL: "SELECT 'a slot without id' FROM slot WHERE id IS NULL LIMIT 20"},
	}
	found, err := audit.Run(t.Context(), pool, checks)
	if err != nil {
		t.Fatal(err)
	}
	want := []audit.Violation{{Check: "never_negative", Detail: "slot 2"}, {Check: "never_negative", Detail: "slot 3"}}
	if len(found) != 2 || found[0] != want[0] || found[1] != want[1] {
		t.Errorf("found %v, want %v", found, want)
	}
}

func slots(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return testkit.Pool(t, "public", func(ctx context.Context, p *pgxpool.Pool) error {
		_, err := p.Exec(ctx, "CREATE TABLE slot (id int, used int); INSERT INTO slot VALUES (1, 0), (2, -1), (3, -2)")
		return err
	})
}

// broken stands between two checks that find something.
var broken = []audit.Check{
	{Name: "before", SQL: "SELECT 'slot ' || id FROM slot WHERE used = -1"},
	{Name: "unknown", SQL: "SELECT nonsense"},
	{Name: "in_between", SQL: "SELECT (1 / used)::text FROM slot"},
	{Name: "after", SQL: "SELECT 'slot ' || id FROM slot WHERE used = -2"},
}

func TestAFailedCheckEndsNoOther(t *testing.T) {
	pool := slots(t)
	found, err := audit.Run(t.Context(), pool, broken)
	want := []audit.Violation{{Check: "before", Detail: "slot 2"}, {Check: "after", Detail: "slot 3"}}
	if !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	missing, ok := errors.AsType[*audit.Incomplete](err)
	if !ok || len(missing.Failures) != 2 || missing.Failures[0].Check != "unknown" || missing.Failures[1].Check != "in_between" {
		t.Errorf("%v", err)
	}
}

func TestWatchSaysWhichChecksFailed(t *testing.T) {
	pool := slots(t)
	reader := metric.NewManualReader()
	meter := metric.NewMeterProvider(metric.WithReader(reader)).Meter("test")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	ended := make(chan error, 1)
	go func() { ended <- audit.Watch(ctx, pool, testkit.Logger(t), meter, broken[:2]) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for {
		var m metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		found, failed := gauge(m, "formicary_invariant_violations"), gauge(m, "formicary_invariant_check_failed")
		if len(failed) == 2 {
			if _, judged := found["unknown"]; found["before"] != 1 || judged || failed["before"] != 0 || failed["unknown"] != 1 {
				t.Errorf("violations %v, failed %v", found, failed)
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("no audit was made")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// gauge returns the values of a gauge by the name of the check.
func gauge(m metricdata.ResourceMetrics, name string) map[string]int64 {
	out := map[string]int64{}
	for _, s := range m.ScopeMetrics {
		for _, x := range s.Metrics {
			data, ok := x.Data.(metricdata.Gauge[int64])
			if !ok || x.Name != name {
				continue
			}
			for _, p := range data.DataPoints {
				check, _ := p.Attributes.Value("name")
				out[check.AsString()] = p.Value
			}
		}
	}
	return out
}
