// Package events is what supervisor sends and receives over the bus: domain events and doorbells through the outbox,
// hints for live views and ants beside it, and the durable consumers.
package events

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/outbox"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Subjects that are sent to.
const (
	ExecutionChanged = "formicary.event.execution.changed"
	liveTask         = "formicary.live.task"
	task             = "formicary.task."
	stop             = "formicary.stop."
)

// Publisher tells the world what transactions changed.
type Publisher struct {
	Relay *outbox.Relay
	NATS  *nats.Conn
	Log   *slog.Logger
	// Wake is called after each commit: dispatcher and timers look at what concerns them. It must not block.
	Wake func(*execution.Changes)
}

// Messages makes the outbox rows of a transaction: a doorbell per new attempt and an event per run that moved.
func (p *Publisher) Messages(c *execution.Changes) ([]outbox.Message, error) {
	msgs := make([]outbox.Message, 0, len(c.Rings)+len(c.Jobs))
	for _, r := range c.Rings {
		payload, err := proto.Marshal(&antv1.Doorbell{Uid: r.UID.String()})
		if err != nil {
			return nil, fmt.Errorf("encode doorbell: %w", err)
		}
		msgs = append(msgs, outbox.New(task+r.Ant, payload))
	}
	for i := range c.Jobs {
		payload, err := proto.Marshal(Changed(c.Jobs[i].Key, &c.Jobs[i].Job))
		if err != nil {
			return nil, fmt.Errorf("encode event: %w", err)
		}
		msgs = append(msgs, outbox.New(ExecutionChanged, payload))
	}
	return msgs, nil
}

// Committed sends what the outbox holds, wakes who waits for it and gives the hints.
func (p *Publisher) Committed(c *execution.Changes, msgs []outbox.Message) {
	p.Relay.Publish(msgs)
	p.Wake(c)
	p.hintTasks(c)
	p.hintStops(c)
}

// perHint keeps the payload of a hint far below the bus's limit.
const perHint = 500

func (p *Publisher) hintTasks(c *execution.Changes) {
	at := timestamppb.New(c.Now)
	for rest := c.Tasks; len(rest) > 0; {
		n := min(perHint, len(rest))
		all := make([]*executionv1.TaskChanged, n)
		for i := range n {
			m := &rest[i]
			all[i] = &executionv1.TaskChanged{
				RequestId: m.Request.String(), Run: int32(m.Run.Run), Task: m.Task, State: TaskState(m.State), Attempt: int32(m.Attempt),
				AntId: m.Ant, ExitCode: int32(m.ExitCode), Message: short(m.Message), Time: at, JobType: m.JobType, OrgId: m.Org,
			}
		}
		rest = rest[n:]
		p.hint(liveTask, &executionv1.TaskChanges{Changes: all})
	}
}

// short cuts a message for a hint; the whole one is in the database.
func short(message string) string {
	const most = 512
	if len(message) <= most {
		return message
	}
	cut := most
	for cut > 0 && message[cut]&0xC0 == 0x80 {
		cut--
	}
	return message[:cut] + "…"
}

func (p *Publisher) hintStops(c *execution.Changes) {
	byAnt := map[string][]string{}
	for _, s := range c.Stops {
		byAnt[s.Ant] = append(byAnt[s.Ant], s.UID.String())
	}
	for ant, uids := range byAnt {
		p.hint(stop+ant, &antv1.StopHint{Uids: uids})
	}
}

// hint sends what may be lost.
func (p *Publisher) hint(subject string, m proto.Message) {
	payload, err := proto.Marshal(m)
	if err == nil {
		err = p.NATS.Publish(subject, payload)
	}
	if err != nil {
		p.Log.Debug("hint was not sent", "subject", subject, "error", err)
	}
}

// Changed is the event that tells the state of a run.
func Changed(key execution.Key, j *engine.Job) *executionv1.ExecutionChanged {
	return &executionv1.ExecutionChanged{
		RequestId: key.Request.String(), Run: int32(key.Run), Version: j.Version, State: JobState(j.State),
		ErrorCode: j.ErrorCode, ErrorMessage: j.ErrorMessage, StartedAt: stamp(j.StartedAt), EndedAt: stamp(j.EndedAt),
		RestartAt: stamp(j.RestartAt), ResumeAt: stamp(j.ResumeAt), RestartSoft: j.RestartSoft,
	}
}

// JobState is the state of a run on the wire.
func JobState(s engine.JobState) executionv1.Execution_State {
	return executionv1.Execution_State(executionv1.Execution_State_value[string(s)])
}

// TaskState is the state of a task on the wire.
func TaskState(s engine.TaskState) executionv1.Task_State {
	return executionv1.Task_State(executionv1.Task_State_value[string(s)])
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
