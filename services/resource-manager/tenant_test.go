package resourcemanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
)

func TestRowsOfOrganisationsAreKeptApart(t *testing.T) {
	tenanttest.Run(t, testkit.Pool(t, "resource", resourcemanager.Migrate), map[string]string{"slot_wait": "whether somebody waits for slots, one row"}, "ant")
}
