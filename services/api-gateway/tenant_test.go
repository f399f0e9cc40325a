package apigateway_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

func TestRowsOfOrganisationsAreKeptApart(t *testing.T) {
	pool := testkit.Pool(t, apigateway.Schema, apigateway.Migrate)
	// What was taken from the owner of the audit log is given back: the policies alone are to hold.
	if _, err := pool.Exec(t.Context(), "GRANT ALL ON audit_event TO CURRENT_USER"); err != nil {
		t.Fatal(err)
	}
	tenanttest.Run(t, pool, map[string]string{
		"org":              "names of organisations: a person may belong to several, the statements say to which",
		"person":           "people, who may belong to several organisations",
		"oidc_identity":    "who people are elsewhere",
		"session":          "logins of people, whose sessions act in all their organisations",
		"attempt":          "failed logins, by account and address",
		"bootstrap":        "the code of the first login, one row",
		"cookie_key":       "what signs the cookies of logins, one row",
		"pending_login":    "logins that are under way: nobody has an organisation yet",
		"audit_pending":    "calls that are under way, which nobody asks for",
		"audit_head":       "the end of the chain, one row",
		"audit_checkpoint": "signatures of the chain of all organisations",
	})
}
