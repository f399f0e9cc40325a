// Package api answers the RPCs of this service: it decodes, calls the domain and encodes.
package api

import (
	"google.golang.org/grpc"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/admission"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
	"github.com/formicary/formicary/services/job-manager/internal/quota"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Server has one part for each group of RPCs.
type Server struct {
	definitions *definitions
	requests    *requests
	admissions  *admissions
	launches    *launches
	children    *children
	errorCodes  *errorCodes
	notices     *notifications
	configs     *configs
	secrets     *secrets
	quotas      *quotas
}

// New returns a server. supervisor is asked about the tasks of runs that have begun.
func New(
	d *definition.Manager, r *request.Manager, a *admission.Manager, e *errorcode.Manager, n Deliveries, c *config.Manager, u quota.Manager,
	supervisor grpc.ClientConnInterface,
) *Server {
	return &Server{
		definitions: &definitions{manager: d},
		requests:    &requests{manager: r, tasks: executionv1.NewExecutionServiceClient(supervisor)},
		admissions:  &admissions{manager: a},
		launches:    &launches{manager: r},
		children:    &children{manager: r},
		errorCodes:  &errorCodes{manager: e},
		notices:     &notifications{manager: r, deliveries: n},
		configs:     &configs{manager: c},
		secrets:     &secrets{manager: c},
		quotas:      &quotas{manager: u},
	}
}

// Register adds all services to r.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	jobv1.RegisterJobDefinitionServiceServer(r, s.definitions)
	jobv1.RegisterJobRequestServiceServer(r, s.requests)
	jobv1.RegisterAdmissionServiceServer(r, s.admissions)
	jobv1.RegisterLaunchServiceServer(r, s.launches)
	jobv1.RegisterChildServiceServer(r, s.children)
	jobv1.RegisterErrorCodeServiceServer(r, s.errorCodes)
	jobv1.RegisterNotificationServiceServer(r, s.notices)
	jobv1.RegisterConfigServiceServer(r, s.configs)
	jobv1.RegisterSecretServiceServer(r, s.secrets)
	jobv1.RegisterQuotaServiceServer(r, s.quotas)
	jobv1.RegisterLimitServiceServer(r, s.quotas)
}
