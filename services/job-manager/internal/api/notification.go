package api

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Deliveries lists what is told of a request.
type Deliveries interface {
	List(ctx context.Context, p notify.Page) ([]notify.Delivery, error)
}

type notifications struct {
	jobv1.UnsafeNotificationServiceServer
	manager    *request.Manager
	deliveries Deliveries
}

const defaultNotifications = 100

func (s *notifications) ListNotifications(ctx context.Context, req *jobv1.ListNotificationsRequest) (*jobv1.ListNotificationsResponse, error) {
	org := access.From(ctx).Org
	rec, err := s.manager.Get(ctx, org, req.GetRequestId())
	if err != nil {
		return nil, err
	}
	size := defaultNotifications
	if req.GetPageSize() > 0 {
		size = int(req.GetPageSize())
	}
	p := notify.Page{OrgID: org, RequestID: rec.ID, Before: time.Now().AddDate(1, 0, 0), Limit: size + 1}
	name := "notifications/" + rec.ID.String()
	token, err := rpc.PagePlace(name, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if token != "" {
		if p.Before, p.BeforeID, err = readPlace(token); err != nil {
			return nil, err
		}
	}
	list, err := s.deliveries.List(ctx, p)
	if err != nil {
		return nil, err
	}
	list, last, more := page(list, size)
	res := &jobv1.ListNotificationsResponse{Notifications: make([]*jobv1.Notification, len(list))}
	for i := range list {
		res.Notifications[i] = fromDelivery(&list[i])
	}
	if more {
		res.NextPageToken = rpc.PageToken(name, last.CreatedAt.UTC().Format(time.RFC3339Nano)+" "+last.ID.String())
	}
	return res, nil
}

// readPlace reads where the page before ended.
func readPlace(token string) (time.Time, uuid.UUID, error) {
	when, name, _ := strings.Cut(token, " ")
	at, err := time.Parse(time.RFC3339Nano, when)
	if err != nil {
		return at, uuid.Nil, rpc.BadPageToken()
	}
	id, err := uuid.Parse(name)
	if err != nil {
		return at, id, rpc.BadPageToken()
	}
	return at, id, nil
}

func fromDelivery(d *notify.Delivery) *jobv1.Notification {
	out := &jobv1.Notification{
		Id: d.ID.String(), RequestId: d.Message.RequestID.String(), Run: int32(d.Message.Run), Task: d.Message.Task, Channel: d.Channel,
		Recipient: d.Recipient, Subject: d.Subject, State: jobv1.Notification_State(jobv1.Notification_State_value[string(d.State)]),
		Attempts: int32(d.Attempts), Error: d.Error, CreatedAt: timestamppb.New(d.CreatedAt),
	}
	switch d.State {
	case notify.Pending:
		out.NextAt = timestamppb.New(d.NextAt)
	case notify.Sent:
		out.SentAt = stamp(d.EndedAt)
	case notify.Failed:
	}
	return out
}
