package resourcemanager_test

import (
	"context"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

// give makes an ant one of an organisation.
func (c *colony) give(id, org string) {
	c.t.Helper()
	if _, err := c.pool.Exec(c.t.Context(), `UPDATE ant SET org_id = $2 WHERE id = $1`, id, org); err != nil {
		c.t.Fatal(err)
	}
}

func as(ctx context.Context, org, role string) context.Context {
	return access.With(ctx, passporttest.Person(org, "u", role))
}

// An ant that works for all is the platform's to drain: an operator of one organisation would stop the work of others.
func TestSharedAntsAreSteeredByThePlatform(t *testing.T) {
	c := start(t, nil)
	c.register("own", 1)
	c.register("shared", 1)
	c.give("own", "a")
	for _, k := range []struct{ role, id, want string }{
		{access.OrgOperator, "own", ""},
		{access.OrgAdmin, "own", ""},
		{access.PlatformAdmin, "own", ""},
		{access.OrgOperator, "shared", "ANT_SHARED"},
		{access.OrgAdmin, "shared", "ANT_SHARED"},
		{access.PlatformAdmin, "shared", ""},
	} {
		ctx := as(t.Context(), "a", k.role)
		_, drain := c.show.DrainAnt(ctx, &resourcev1.DrainAntRequest{Id: k.id})
		got, err := c.show.GetAnt(ctx, &resourcev1.GetAntRequest{Id: k.id})
		if err != nil {
			t.Fatal(err)
		}
		state := got.GetAnt().GetState()
		_, resume := c.show.ResumeAnt(ctx, &resourcev1.ResumeAntRequest{Id: k.id})
		if errs.Reason(drain) != k.want || errs.Reason(resume) != k.want || (state == resourcev1.Ant_DRAINING) != (k.want == "") {
			t.Errorf("%s, %s: drain %v, resume %v, between them %s", k.role, k.id, drain, resume, state)
		}
	}
}

// host answers as an ant on which things run; it removes nothing but notes what it was asked to.
func (c *colony) host(id string, removed *[]string, running ...*antv1.RunningExecutor) {
	c.t.Helper()
	sub, err := c.nats.Subscribe("formicary.executors."+id, func(m *nats.Msg) {
		var call antv1.ExecutorCall
		if err := proto.Unmarshal(m.Data, &call); err != nil {
			return
		}
		report := &antv1.ExecutorReport{}
		for _, x := range running {
			if call.GetRemove() == "" || x.GetUid() == call.GetRemove() {
				report.Executors = append(report.Executors, x)
			}
		}
		if call.GetRemove() != "" {
			c.sup.locked(func() { *removed = append(*removed, id+" "+call.GetRemove()) })
		}
		raw, err := proto.Marshal(report)
		if err == nil {
			_ = m.Respond(raw)
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = sub.Unsubscribe() })
}

// What runs of other organisations is not there, on an ant that works for all neither.
func TestExecutorsOfOtherOrganisations(t *testing.T) {
	c := start(t, nil)
	for id, org := range map[string]string{"of-a": "a", "of-b": "b", "shared": ""} {
		c.register(id, 1)
		c.give(id, org)
	}
	work := func(uid, org string) *antv1.RunningExecutor {
		return &antv1.RunningExecutor{Uid: uid, Work: &antv1.Work{OrgId: org, JobType: "job-of-" + org}}
	}
	left := func(uid string) *antv1.RunningExecutor { return &antv1.RunningExecutor{Uid: uid} }
	var removed []string
	c.host("of-a", &removed, work("a1", "a"), left("left-a"))
	c.host("of-b", &removed, work("b1", "b"))
	c.host("shared", &removed, work("a2", "a"), work("b2", "b"), left("left-shared"))
	desk := resourcev1.NewExecutorServiceClient(c.dial("resource-manager"))
	everything := []string{"a1", "left-a", "b1", "a2", "b2", "left-shared"}
	for _, k := range []struct {
		org, role string
		want      []string
	}{
		{"a", access.OrgViewer, []string{"a1", "left-a", "a2"}},
		{"b", access.OrgAdmin, []string{"b1", "b2"}},
		{"c", access.OrgAdmin, nil},
		{"c", access.PlatformAdmin, everything},
		{"c", access.PlatformAuditor, everything},
	} {
		res, err := desk.ListExecutors(as(t.Context(), k.org, k.role), &resourcev1.ListExecutorsRequest{})
		var got []string
		for _, x := range res.GetExecutors() {
			got = append(got, x.GetId())
		}
		if err != nil || !slices.Equal(got, k.want) || len(res.GetSilent()) != 0 {
			t.Errorf("%s of %s sees %v, silent %v, want %v: %v", k.role, k.org, got, res.GetSilent(), k.want, err)
		}
	}
	for _, k := range []struct{ org, role, id, want string }{
		{"b", access.OrgAdmin, "a1", "EXECUTOR_NOT_FOUND"},
		{"b", access.OrgAdmin, "a2", "EXECUTOR_NOT_FOUND"},
		{"b", access.OrgAdmin, "left-a", "EXECUTOR_NOT_FOUND"},
		{"b", access.OrgAdmin, "left-shared", "EXECUTOR_NOT_FOUND"},
		{"b", access.OrgAdmin, "none", "EXECUTOR_NOT_FOUND"},
		{"a", access.OrgOperator, "a2", ""},
		{"a", access.OrgOperator, "left-a", ""},
		{"c", access.PlatformAdmin, "b1", ""},
	} {
		removed = nil
		_, err := desk.DeleteExecutor(as(t.Context(), k.org, k.role), &resourcev1.DeleteExecutorRequest{Id: k.id})
		var asked []string
		c.sup.locked(func() { asked = slices.Clone(removed) })
		if errs.Reason(err) != k.want || (k.want != "") != (len(asked) == 0) || k.org != "c" && len(asked) > 1 {
			t.Errorf("%s of %s ends %s: %v, asked %v", k.role, k.org, k.id, err, asked)
		}
	}
}

// What an organisation has is not there for others, whatever method they ask with.
func TestMethodsTellNothingOfOtherOrganisations(t *testing.T) {
	c := start(t, nil)
	c.register("own", 1)
	c.give("own", "a")
	var removed []string
	c.host("own", &removed, &antv1.RunningExecutor{Uid: "attempt-1", Work: &antv1.Work{OrgId: "a"}})
	made, err := resourcev1.NewAntIdentityServiceClient(c.dial("resource-manager")).CreateJoinToken(as(t.Context(), "a", access.OrgAdmin), &resourcev1.CreateJoinTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ant := func(of func(id string) proto.Message) tenanttest.Ask {
		return tenanttest.Ask{Of: of, Theirs: "own", None: "none-such"}
	}
	tenanttest.Methods(t, c.dial("resource-manager"), "formicary.resource.v1.", as(t.Context(), "a", access.OrgAdmin), as(t.Context(), "b", access.OrgAdmin), map[string]tenanttest.Ask{
		"AntService/ListAnts":           {List: &resourcev1.ListAntsRequest{}},
		"AntService/GetAnt":             ant(func(id string) proto.Message { return &resourcev1.GetAntRequest{Id: id} }),
		"AntService/DrainAnt":           ant(func(id string) proto.Message { return &resourcev1.DrainAntRequest{Id: id} }),
		"AntService/ResumeAnt":          ant(func(id string) proto.Message { return &resourcev1.ResumeAntRequest{Id: id} }),
		"ExecutorService/ListExecutors": {List: &resourcev1.ListExecutorsRequest{}},
		"ExecutorService/DeleteExecutor": {
			Of: func(id string) proto.Message { return &resourcev1.DeleteExecutorRequest{Id: id} }, Theirs: "attempt-1", None: "attempt-2",
		},
		"AntIdentityService/CreateJoinToken": {Own: "makes one of the caller's organisation"},
		"AntIdentityService/ListJoinTokens":  {List: &resourcev1.ListJoinTokensRequest{}},
		"AntIdentityService/RevokeJoinToken": {
			Of:     func(id string) proto.Message { return &resourcev1.RevokeJoinTokenRequest{Id: id} },
			Theirs: made.GetInfo().GetId(), None: "01a22a67-9f82-70f9-8a93-840c7f109fb0",
		},
		"AntIdentityService/RevokeAnt": ant(func(id string) proto.Message { return &resourcev1.RevokeAntRequest{Id: id} }),
	})
}
