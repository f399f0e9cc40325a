package request

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/job-manager/internal/config"
)

// Configs are the configs that runs see, and what encrypts their secret parameters.
type Configs interface {
	// Digest is a keyed hash.
	Digest(text []byte) []byte
	// SealParams encrypts parameters of a request.
	SealParams(ctx context.Context, org string, request uuid.UUID, params map[string]string) ([]config.Sealing, error)
	// View is what a run would see now, or did a moment ago; Forget makes it look again.
	View(ctx context.Context, org, user, jobType string) (config.View, error)
	Forget()
	// ViewAt is what a run sees after a number of changes.
	ViewAt(ctx context.Context, change int64, org, user, jobType string) (config.View, error)
}

// seal takes the parameters of type secret out of params, where they are masked from then on, and encrypts them.
func (m *Manager) seal(ctx context.Context, spec *jobspec.Definition, rec *Record, params value.Vars) ([]config.Sealing, error) {
	given := map[string]string{}
	for _, name := range param.Secrets(spec.Params) {
		v, ok := params[name]
		if !ok {
			continue
		}
		text, _ := v.(string) // what CheckParams makes of a secret
		if err := checkSecretParam(name, text); err != nil {
			return nil, err
		}
		given[name], params[name] = text, param.Masked
	}
	if len(given) == 0 {
		return nil, nil
	}
	sealed, err := m.configs.SealParams(ctx, rec.OrgID, rec.ID, given)
	if err != nil {
		return nil, fmt.Errorf("encrypt the parameters of request %s: %w", rec.ID, err)
	}
	return sealed, nil
}

func checkSecretParam(name, text string) error {
	message := ""
	if text == param.Masked {
		message = "it is masked: give its value"
	} else if err := config.CheckSecret(text); err != nil {
		message = err.Error()
	}
	if message == "" {
		return nil
	}
	return errs.Invalid("PARAMS_INVALID", "the parameter %s is not possible", name).
		WithViolations(errs.Violation{Field: name, Description: message, Reason: "INVALID_PARAM"})
}

// seen are the variables of a run: its built-ins, the parameters but secret ones, which only tasks that name them are given, and
// configs below them.
func seen(spec *jobspec.Definition, view *config.View, vars value.Vars) value.Vars {
	vars = jobspec.WithConfigs(view.Low, view.Job, vars)
	for _, name := range param.Secrets(spec.Params) {
		delete(vars, name) // also where a config has the name
	}
	return vars
}

// digests of a submission: what is stored, and what was stored before there was a key.
type digests struct{ keyed, plain []byte }

func (d digests) fits(stored []byte) bool {
	return hmac.Equal(stored, d.keyed) || hmac.Equal(stored, d.plain)
}

// noConfigs is a colony without configs and without a key ring.
type noConfigs struct{}

func (noConfigs) Digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:]
}

func (noConfigs) SealParams(context.Context, string, uuid.UUID, map[string]string) ([]config.Sealing, error) {
	return nil, errs.Precondition("KEYRING_MISSING", "there is no key ring")
}

func (noConfigs) View(context.Context, string, string, string) (config.View, error) {
	return config.View{}, nil
}

func (noConfigs) Forget() {}

func (noConfigs) ViewAt(context.Context, int64, string, string, string) (config.View, error) {
	return config.View{}, nil
}
