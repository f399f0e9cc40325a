package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	addresses "github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/pgdb"
	jobhistory "github.com/formicary/formicary/services/job-manager/history"
	runhistory "github.com/formicary/formicary/services/supervisor/history"
)

const (
	historyRounds = 6
	historyOnes   = 60  // jobs one at a time in each round
	historyMany   = 300 // jobs by many clients in each round
)

// side is one of two colonies that are compared.
type side struct {
	c    *colony
	took []time.Duration
	cpu  time.Duration
	jobs int
}

// history compares a colony that has done n jobs with an empty one. The rounds take turns, so that what else happens on
// the machine meets both.
func history(ctx context.Context, o options, rep report) (err error) {
	sides := map[string]*side{}
	for _, name := range []string{"empty", "full"} {
		c, serr := startColony(ctx, o.formicary, report{})
		if serr != nil {
			return serr
		}
		defer c.stop()
		sides[name] = &side{c: c}
		if err := c.define(ctx, noop); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := sides["full"].c.fill(ctx, o.history); err != nil {
		return err
	}
	rep.set("history", "fill_s", time.Since(began).Seconds())
	for round := range historyRounds + 1 { // the first warms up
		order := []string{"empty", "full"}
		if round%2 == 1 {
			order = []string{"full", "empty"}
		}
		for _, name := range order {
			if err := sides[name].round(ctx, o.clients, round > 0); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	empty, full := sides["empty"], sides["full"]
	rep.set("history", "w1_p50_ms", quantile(full.took, 0.5))
	rep.set("history", "w1_p50_ratio", quantile(full.took, 0.5)/quantile(empty.took, 0.5))
	rep.set("history", "cpu_ms_per_job", full.perJob())
	rep.set("history", "cpu_per_job_ratio", full.perJob()/empty.perJob())
	return nil
}

func (s *side) perJob() float64 { return float64(s.cpu.Microseconds()) / 1000 / float64(s.jobs) }

// round runs jobs one at a time for the time that they take, and many for the processor time of one.
func (s *side) round(ctx context.Context, clients int, count bool) error {
	took, err := s.c.each(ctx, "bench-noop", historyOnes)
	if err != nil {
		return err
	}
	cpu := s.c.cpu()
	if err := many(ctx, s.c, report{}, "", historyMany, clients); err != nil {
		return err
	}
	if count {
		s.took = append(s.took, took...)
		s.cpu += s.c.cpu() - cpu
		s.jobs += historyMany
	}
	return nil
}

// fill gives the colony a history of n requests, written by the superuser of its database.
func (c *colony) fill(ctx context.Context, n int) error {
	col, err := addresses.Load(filepath.Join(c.dir, "data", "colony.json"), func(string) string { return "" })
	if err != nil {
		return fmt.Errorf("find the database: %w", err)
	}
	for _, f := range []struct {
		service, schema string
		fill            func(context.Context, *pgxpool.Pool, int) error
	}{{"job-manager", "job", jobhistory.Fill}, {"supervisor", "execution", runhistory.Fill}} {
		fmt.Fprintf(os.Stderr, "bench: history: fill %s\n", f.schema)
		dsn, err := col.DSN(f.service)
		if err != nil {
			return err
		}
		dsn = strings.Replace(dsn, "user="+f.schema, "user=formicary", 1)
		pool, err := pgdb.Open(ctx, dsn, pgdb.Options{Name: "bench", Schema: f.schema, MaxConns: 1, Org: pgdb.Everyone, Whole: true})
		if err != nil {
			return err
		}
		err = f.fill(ctx, pool, n)
		if err == nil {
			_, err = pool.Exec(ctx, "CHECKPOINT")
		}
		pool.Close()
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}
