package jobmanager_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// What an organisation has is not there for others, whatever method they ask with.
func TestMethodsTellNothingOfOtherOrganisations(t *testing.T) {
	c := newColony(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	acme, rival := c.as("acme", "ann", access.OrgAdmin), c.as("rival", "eve", access.OrgAdmin)
	def := c.uploadFor("acme", job("theirs", ""))
	req := c.submitFor("acme", "theirs")
	rule, err := c.errorCodes.SaveErrorCode(acme, &jobv1.SaveErrorCodeRequest{ErrorCode: &jobv1.ErrorCode{Regex: "x", ErrorCode: "ERR_X"}})
	must(err)
	_, err = c.configs.SetConfig(acme, &jobv1.SetConfigRequest{Scope: "orgs/acme", Name: "REGION", Value: "x"})
	must(err)
	_, err = c.secrets.SetSecret(acme, &jobv1.SetSecretRequest{Scope: "orgs/acme", Name: "KEY", Value: "a-secret-value"})
	must(err)

	const nobody = "01a22a67-9f82-70f9-8a93-840c7f109fb0"
	request := func(of func(id string) proto.Message) tenanttest.Ask {
		return tenanttest.Ask{Of: of, Theirs: req.GetId(), None: nobody}
	}
	definition := func(of func(id string) proto.Message) tenanttest.Ask {
		return tenanttest.Ask{Of: of, Theirs: def.GetId(), None: nobody}
	}
	scope := func(of func(scope string) proto.Message) tenanttest.Ask {
		return tenanttest.Ask{Of: of, Theirs: "orgs/acme", None: "orgs/nobody"}
	}
	const own = "it makes something of the caller's organisation"
	tenanttest.Methods(t, c.dial("job-manager"), "formicary.job.v1.", acme, rival, map[string]tenanttest.Ask{
		"ConfigService/ListConfigs":  scope(func(s string) proto.Message { return &jobv1.ListConfigsRequest{Scope: s} }),
		"ConfigService/GetConfig":    scope(func(s string) proto.Message { return &jobv1.GetConfigRequest{Scope: s, Name: "REGION"} }),
		"ConfigService/SetConfig":    scope(func(s string) proto.Message { return &jobv1.SetConfigRequest{Scope: s, Name: "REGION", Value: "y"} }),
		"ConfigService/DeleteConfig": scope(func(s string) proto.Message { return &jobv1.DeleteConfigRequest{Scope: s, Name: "REGION"} }),
		"SecretService/ListSecrets":  scope(func(s string) proto.Message { return &jobv1.ListSecretsRequest{Scope: s} }),
		"SecretService/GetSecret":    scope(func(s string) proto.Message { return &jobv1.GetSecretRequest{Scope: s, Name: "KEY"} }),
		"SecretService/SetSecret":    scope(func(s string) proto.Message { return &jobv1.SetSecretRequest{Scope: s, Name: "KEY", Value: "y"} }),
		"SecretService/RevealSecret": scope(func(s string) proto.Message { return &jobv1.RevealSecretRequest{Scope: s, Name: "KEY"} }),
		"SecretService/DeleteSecret": scope(func(s string) proto.Message { return &jobv1.DeleteSecretRequest{Scope: s, Name: "KEY"} }),
		"SecretService/GetKeyRing":   {Own: "the ring is the platform's"}, "SecretService/RotateKeyRing": {Own: "the ring is the platform's"},

		"JobDefinitionService/CreateJobDefinition":       {Own: own},
		"JobDefinitionService/GetJobDefinition":          definition(func(id string) proto.Message { return &jobv1.GetJobDefinitionRequest{Id: id} }),
		"JobDefinitionService/ListJobDefinitions":        {List: &jobv1.ListJobDefinitionsRequest{}},
		"JobDefinitionService/ListJobDefinitionVersions": {List: &jobv1.ListJobDefinitionVersionsRequest{JobType: "theirs"}},
		"JobDefinitionService/EnableJobDefinition":       definition(func(id string) proto.Message { return &jobv1.EnableJobDefinitionRequest{Id: id} }),
		"JobDefinitionService/DisableJobDefinition":      definition(func(id string) proto.Message { return &jobv1.DisableJobDefinitionRequest{Id: id} }),
		"JobDefinitionService/DeleteJobDefinition":       definition(func(id string) proto.Message { return &jobv1.DeleteJobDefinitionRequest{Id: id} }),
		"JobDefinitionService/ListPlugins":               {Own: "plugins are published for all: TestPlugins"},

		"ErrorCodeService/ListErrorCodes": {List: &jobv1.ListErrorCodesRequest{}},
		"ErrorCodeService/SaveErrorCode": {Theirs: rule.GetErrorCode().GetId(), None: nobody, Of: func(id string) proto.Message {
			return &jobv1.SaveErrorCodeRequest{ErrorCode: &jobv1.ErrorCode{Id: id, Regex: "y", ErrorCode: "ERR_Y"}}
		}},
		"ErrorCodeService/DeleteErrorCode": {Theirs: rule.GetErrorCode().GetId(), None: nobody, Of: func(id string) proto.Message { return &jobv1.DeleteErrorCodeRequest{Id: id} }},

		"EventService/WatchEvents":              {Own: "api-gateway serves it"},
		"QuotaService/GetQuota":                 {Of: func(org string) proto.Message { return &jobv1.GetQuotaRequest{Org: org} }, Theirs: "acme", None: "nobody"},
		"QuotaService/SetQuota":                 {Own: "a platform-admin sets those of the organisation that it acts in"},
		"NotificationService/ListNotifications": request(func(id string) proto.Message { return &jobv1.ListNotificationsRequest{RequestId: id} }),
		"JobRequestService/SubmitJob":           {Own: own},
		"JobRequestService/GetJobRequest":       request(func(id string) proto.Message { return &jobv1.GetJobRequestRequest{Id: id} }),
		"JobRequestService/ListJobRequests":     {List: &jobv1.ListJobRequestsRequest{}},
		"JobRequestService/CancelJobRequest":    request(func(id string) proto.Message { return &jobv1.CancelJobRequestRequest{Id: id} }),
		"JobRequestService/PauseJobRequest":     request(func(id string) proto.Message { return &jobv1.PauseJobRequestRequest{Id: id} }),
		"JobRequestService/ResumeJobRequest":    request(func(id string) proto.Message { return &jobv1.ResumeJobRequestRequest{Id: id} }),
		"JobRequestService/RestartJobRequest":   request(func(id string) proto.Message { return &jobv1.RestartJobRequestRequest{Id: id} }),
		"JobRequestService/ExplainJobRequest":   request(func(id string) proto.Message { return &jobv1.ExplainJobRequestRequest{Id: id} }),
	})
	for what, list := range map[string]proto.Message{"another job type": &jobv1.ListJobRequestsRequest{JobType: "' OR '1'='1"}, "a parent": &jobv1.ListJobRequestsRequest{ParentRequestId: req.GetId()}} {
		if res, err := c.requests.ListJobRequests(rival, list.(*jobv1.ListJobRequestsRequest)); err != nil || len(res.GetRequests()) > 0 {
			t.Errorf("%s: %v, %v", what, res, err)
		}
	}
}
