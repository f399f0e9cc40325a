package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Standing implements request.Store with three queries, whatever the number of records; ranks cost one more each.
func (s *Store) Standing(ctx context.Context, recs []request.Record, ranked bool) ([]request.Standing, time.Time, error) {
	now, err := s.q.Clock(ctx)
	if err != nil {
		return nil, now, fmt.Errorf("read the clock: %w", err)
	}
	out := make([]request.Standing, len(recs))
	orgs, types, classes := pendingKeys(recs)
	if len(types) == 0 {
		return out, now, nil
	}
	standings, err := s.q.TypeStandings(ctx, db.TypeStandingsParams{Orgs: orgs, Types: types})
	if err != nil {
		return nil, now, fmt.Errorf("read the standing of job types: %w", err)
	}
	gates, err := s.q.Gates(ctx, db.GatesParams{Orgs: orgs, Types: types, Classes: classes})
	if err != nil {
		return nil, now, fmt.Errorf("read closed gates: %w", err)
	}
	byType := map[typeKey]db.TypeStandingsRow{}
	for _, t := range standings {
		byType[typeKey{t.OrgID, t.JobType}] = t
	}
	for i := range recs {
		if recs[i].State != request.Pending {
			continue
		}
		t := byType[typeKey{recs[i].OrgID, recs[i].JobType}]
		out[i] = request.Standing{
			Disabled: t.Disabled, MaxConcurrency: int(t.MaxConcurrency), Active: int(t.Active), Holders: t.Holders, Gates: gatesOf(&recs[i], gates),
		}
		if ranked && recs[i].Queued {
			if out[i].Rank, err = s.rank(ctx, &recs[i]); err != nil {
				return nil, now, err
			}
		}
		if ranked && recs[i].ParentID != nil && t.MaxConcurrency > 0 {
			if out[i].Ancestors, err = s.ancestors(ctx, &recs[i]); err != nil {
				return nil, now, err
			}
		}
	}
	return out, now, nil
}

func pendingKeys(recs []request.Record) (orgs, types, classes []string) {
	seen := map[[3]string]bool{}
	for i := range recs {
		key := [3]string{recs[i].OrgID, recs[i].JobType, recs[i].PlacementClass}
		if recs[i].State == request.Pending && !seen[key] {
			seen[key] = true
			orgs, types, classes = append(orgs, key[0]), append(types, key[1]), append(classes, key[2])
		}
	}
	return orgs, types, classes
}

// gatesOf returns the gates that hold rec: those of its job type first.
func gatesOf(rec *request.Record, gates []db.GatesRow) []request.ClosedGate {
	var ofType, ofClass []request.ClosedGate
	for _, g := range gates {
		closed := request.ClosedGate{
			OrgID: g.OrgID, JobType: g.JobType, PlacementClass: g.PlacementClass, Gate: request.Gate(g.Gate), Reason: g.Reason, Holders: g.Holders,
		}
		switch {
		case g.JobType != "" && g.JobType == rec.JobType && g.OrgID == rec.OrgID:
			ofType = append(ofType, closed)
		case g.JobType == "" && g.PlacementClass == rec.PlacementClass && (g.OrgID == "" || g.OrgID == rec.OrgID):
			ofClass = append(ofClass, closed)
		}
	}
	return append(ofType, ofClass...)
}

// ancestors returns those that hold a place of the job type of rec.
func (s *Store) ancestors(ctx context.Context, rec *request.Record) ([]string, error) {
	ids, err := s.q.ActiveAncestors(ctx, db.ActiveAncestorsParams{ID: rec.ID, OrgID: rec.OrgID, JobType: rec.JobType})
	if err != nil {
		return nil, fmt.Errorf("find ancestors of request %s: %w", rec.ID, err)
	}
	return column(ids, uuid.UUID.String), nil
}

func (s *Store) rank(ctx context.Context, rec *request.Record) (int64, error) {
	before, err := s.q.Rank(ctx, db.RankParams{
		OrgID: rec.OrgID, JobType: rec.JobType, Priority: int16(rec.Priority), AgeAt: rec.AgeAt, ID: rec.ID,
	})
	if err != nil {
		return 0, fmt.Errorf("rank request %s: %w", rec.ID, err)
	}
	return before + 1, nil
}
