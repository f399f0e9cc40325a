package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
)

// Definitions implements definition.Store.
type Definitions struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

// NewDefinitions returns the definitions of the schema that pool's search path names.
func NewDefinitions(pool *pgxpool.Pool) *Definitions {
	return &Definitions{pool: pool, q: db.New(pool)}
}

var errDryRun = errors.New("nothing is to be stored")

// Create implements definition.Store.
func (s *Definitions) Create(ctx context.Context, d definition.Definition, dryRun bool) (definition.Definition, bool, error) {
	var stored definition.Definition
	var created bool
	// LendPlugin changes the copies of a plugin's switch and limit, which belong to the organisations that run it.
	err := pgdb.Tx(pgdb.OwnWork(ctx), s.pool, func(tx pgx.Tx) error {
		var err error
		if stored, created, err = create(ctx, s.q.WithTx(tx), d); err == nil && dryRun {
			return errDryRun
		}
		return err
	})
	switch {
	case errors.Is(err, errDryRun):
		return stored, false, nil
	case pgdb.IsUnique(err, "job_type_plugin"):
		return stored, false, errs.Conflict("PLUGIN_TAKEN", "another organisation publishes a plugin %s", d.JobType)
	case pgdb.IsUnique(err, "definition_release"):
		return stored, false, taken(d)
	case err != nil:
		return stored, false, fmt.Errorf("store definition of %s: %w", d.JobType, err)
	}
	return stored, created, nil
}

// create works under the lock of the job type, so that two uploads never take the same number.
func create(ctx context.Context, q *db.Queries, d definition.Definition) (definition.Definition, bool, error) {
	t, err := q.LockType(ctx, db.LockTypeParams{OrgID: d.OrgID, JobType: d.JobType})
	if err != nil {
		return d, false, err
	}
	disabled := d.Disabled
	if t.NewestID != nil {
		newest, err := q.DefinitionByID(ctx, db.DefinitionByIDParams{ID: *t.NewestID, OrgID: d.OrgID})
		if err != nil {
			return d, false, err
		}
		if bytes.Equal(newest.Definition.Sha256, d.SHA256) {
			return toDefinition(newest.Definition, t.Disabled), false, nil
		}
		if d.Fixed() {
			if same, found, err := release(ctx, q, d); err != nil || found {
				return toDefinition(same, t.Disabled), false, err
			}
		}
		// The switch is the operator's unless the new text changes what the last one said.
		if newest.Definition.Disabled == d.Disabled {
			disabled = t.Disabled
		}
	}
	audience, err := encodeAudience(d.Audience)
	if err != nil {
		return d, false, err
	}
	row := db.InsertDefinitionParams{
		ID: uuid.New(), OrgID: d.OrgID, JobType: d.JobType, Version: t.LastVersion + 1, Generation: t.Generation, SemVersion: d.SemVersion,
		Description: d.Description, Disabled: d.Disabled, Sha256: d.SHA256, Yaml: d.YAML, MaxConcurrency: int32(d.MaxConcurrency),
		Priority: int32(d.Priority), RequiredParams: append([]string{}, d.RequiredParams...), CreatedBy: d.CreatedBy, PublicPlugin: d.PublicPlugin,
		Audience: audience,
	}
	if err := q.InsertDefinition(ctx, row); err != nil {
		return d, false, err
	}
	err = q.SetNewest(ctx, db.SetNewestParams{
		OrgID: d.OrgID, JobType: d.JobType, LastVersion: row.Version, NewestID: &row.ID, Disabled: disabled, MaxConcurrency: row.MaxConcurrency,
		PublicPlugin: d.PublicPlugin,
	})
	if err != nil {
		return d, false, err
	}
	if d.PublicPlugin {
		if err := q.LendPlugin(ctx, db.LendPluginParams{OrgID: d.OrgID, JobType: d.JobType}); err != nil {
			return d, false, err
		}
	}
	stored, err := q.DefinitionByID(ctx, db.DefinitionByIDParams{ID: row.ID, OrgID: d.OrgID})
	return toDefinition(stored.Definition, stored.Disabled), true, err
}

// release returns the version that bears the name of d, if there is one and it has the same text; with another text d cannot
// be stored.
func release(ctx context.Context, q *db.Queries, d definition.Definition) (same db.Definition, found bool, err error) {
	names, err := q.VersionNames(ctx, db.VersionNamesParams{OrgID: d.OrgID, JobType: d.JobType, PublicOnly: true})
	if err != nil {
		return same, false, err
	}
	i := slices.IndexFunc(names, func(n db.VersionNamesRow) bool { return n.SemVersion == d.SemVersion })
	if i < 0 {
		return same, false, nil
	}
	row, err := q.DefinitionByID(ctx, db.DefinitionByIDParams{ID: names[i].ID, OrgID: d.OrgID})
	if err == nil && !bytes.Equal(row.Definition.Sha256, d.SHA256) {
		err = taken(d)
	}
	return row.Definition, err == nil, err
}

func taken(d definition.Definition) error {
	return errs.Conflict("SEM_VERSION_TAKEN", "the plugin %s was released as %s with another text; a release is fixed: give the new text another sem_version", d.JobType, d.SemVersion)
}

// Find implements definition.Store. A public plugin is everybody's to read, whosever rows it stands in: the statements let no other
// definition of another organisation through.
func (s *Definitions) Find(ctx context.Context, ref definition.Ref) (definition.Definition, error) {
	ctx = pgdb.OwnWork(ctx)
	var d db.Definition
	var disabled bool
	var err error
	name := ref.JobType
	if ref.ID != uuid.Nil {
		name = ref.ID.String()
		var row db.DefinitionByIDRow
		row, err = s.q.DefinitionByID(ctx, db.DefinitionByIDParams{ID: ref.ID, OrgID: ref.OrgID, AnyOrg: ref.OrgID == ""})
		d, disabled = row.Definition, row.Disabled
	} else {
		var row db.NewestDefinitionRow
		row, err = s.q.NewestDefinition(ctx, db.NewestDefinitionParams{OrgID: ref.OrgID, JobType: ref.JobType})
		d, disabled = row.Definition, row.Disabled
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return definition.Definition{}, definition.NotFound(name)
	case err != nil:
		return definition.Definition{}, fmt.Errorf("find definition %s: %w", name, err)
	}
	return toDefinition(d, disabled), nil
}

// Owner implements definition.Store. It looks among the plugins of all organisations.
func (s *Definitions) Owner(ctx context.Context, org, jobType string) (string, error) {
	owner, err := s.q.OwnerOf(pgdb.OwnWork(ctx), db.OwnerOfParams{OrgID: org, JobType: jobType})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", definition.NotFound(jobType)
	case err != nil:
		return "", fmt.Errorf("find the owner of job type %s: %w", jobType, err)
	}
	return owner, nil
}

// Versions implements definition.Store.
func (s *Definitions) Versions(ctx context.Context, org, jobType string, number int, publicOnly bool) ([]definition.VersionName, int, error) {
	if publicOnly { // the type is a plugin of another organisation
		ctx = pgdb.OwnWork(ctx)
	}
	rows, err := s.q.VersionNames(ctx, db.VersionNamesParams{OrgID: org, JobType: jobType, Number: int32(number), PublicOnly: publicOnly})
	if err != nil {
		return nil, 0, fmt.Errorf("read the versions of %s: %w", jobType, err)
	}
	if len(rows) == 0 {
		exists, err := s.q.TypeExists(ctx, db.TypeExistsParams{OrgID: org, JobType: jobType})
		if err != nil {
			return nil, 0, fmt.Errorf("find job type %s: %w", jobType, err)
		}
		if !exists {
			return nil, 0, definition.NotFound(jobType)
		}
		return nil, 0, nil
	}
	names := make([]definition.VersionName, len(rows))
	for i, row := range rows {
		names[i] = definition.VersionName{ID: row.ID, Version: int(row.Version), SemVersion: row.SemVersion}
	}
	return names, int(rows[0].LastVersion), nil
}

// List implements definition.Store.
func (s *Definitions) List(ctx context.Context, p definition.Page) ([]definition.Definition, error) {
	var out []definition.Definition
	if p.JobType == "" {
		rows, err := s.q.ListNewest(ctx, db.ListNewestParams{OrgID: p.OrgID, AfterType: p.AfterType, Page: int32(p.Limit)})
		if err != nil {
			return nil, fmt.Errorf("list definitions: %w", err)
		}
		for _, row := range rows {
			out = append(out, toListed(row))
		}
		return out, nil
	}
	rows, err := s.q.ListVersions(ctx, db.ListVersionsParams{OrgID: p.OrgID, JobType: p.JobType, BeforeVersion: int32(p.BeforeVersion), Page: int32(p.Limit)})
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", p.JobType, err)
	}
	for _, row := range rows {
		out = append(out, toListed(db.ListNewestRow(row)))
	}
	return out, nil
}

// Plugins implements definition.Store. It lists what all organisations publish.
func (s *Definitions) Plugins(ctx context.Context, p definition.Page) ([]definition.Definition, error) {
	rows, err := s.q.ListPlugins(pgdb.OwnWork(ctx), db.ListPluginsParams{AfterType: p.AfterType, Page: int32(p.Limit)})
	if err != nil {
		return nil, fmt.Errorf("list plugins: %w", err)
	}
	out := make([]definition.Definition, len(rows))
	for i, row := range rows {
		out[i] = toListed(db.ListNewestRow(row))
	}
	return out, nil
}

// SetDisabled implements definition.Store.
func (s *Definitions) SetDisabled(ctx context.Context, org, jobType string, disabled bool) error {
	// LendPlugin changes the copies of a plugin's switch, which belong to the organisations that run it.
	err := pgdb.Tx(pgdb.OwnWork(ctx), s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		n, err := q.SetDisabled(ctx, db.SetDisabledParams{OrgID: org, JobType: jobType, Disabled: disabled})
		if err == nil && n == 0 {
			return definition.NotFound(jobType)
		}
		if err != nil {
			return err
		}
		return q.LendPlugin(ctx, db.LendPluginParams{OrgID: org, JobType: jobType})
	})
	if err != nil {
		return fmt.Errorf("switch job type %s: %w", jobType, err)
	}
	return nil
}

// Delete implements definition.Store. The lock keeps submissions of the type out until the deletion is decided.
func (s *Definitions) Delete(ctx context.Context, org, jobType string) error {
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		t, err := q.LockTypeForDelete(ctx, db.LockTypeForDeleteParams{OrgID: org, JobType: jobType})
		if errors.Is(err, pgx.ErrNoRows) || err == nil && t.NewestID == nil {
			return definition.NotFound(jobType)
		}
		if err != nil {
			return err
		}
		id, err := q.OpenRequestOf(ctx, db.OpenRequestOfParams{OrgID: org, JobType: jobType})
		switch {
		case err == nil:
			return errs.Precondition("DEFINITION_IN_USE", "job type %s has a request that has not ended: %s", jobType, id)
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		return q.MarkDeleted(ctx, db.MarkDeletedParams{OrgID: org, JobType: jobType})
	})
	if err != nil {
		return fmt.Errorf("delete job type %s: %w", jobType, err)
	}
	return nil
}
