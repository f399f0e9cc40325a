// Package events is what supervisor sends and receives over the bus: domain events and doorbells through the outbox,
// hints for live views and ants beside it, and the durable consumers.
package events

import (
	"fmt"
	"log/slog"
	"slices"
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

const (
	perDoorbell = 25  // a doorbell stays below the 1 KiB of its stream
	perEvent    = 250 // runs in one event; their error messages are bounded
)

// Messages makes the outbox rows of a transaction: doorbells by ant, events with the runs that moved and the notices
// that people asked for, few of them however large the batch was.
func (p *Publisher) Messages(c *execution.Changes) ([]outbox.Message, error) {
	var msgs []outbox.Message
	add := func(subject string, m proto.Message) error {
		payload, err := proto.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode message to %s: %w", subject, err)
		}
		msgs = append(msgs, outbox.New(subject, payload))
		return nil
	}
	for _, ant := range byAnt(c.Rings) {
		for uids := range slices.Chunk(ant.uids, perDoorbell) {
			if err := add(task+ant.id, &antv1.Doorbell{Uids: uids}); err != nil {
				return nil, err
			}
		}
	}
	for jobs := range slices.Chunk(c.Jobs, perEvent) {
		all := &executionv1.ExecutionChanges{Changes: make([]*executionv1.ExecutionChanged, len(jobs))}
		for i := range jobs {
			all.Changes[i] = Changed(jobs[i].Key, &jobs[i].Job)
		}
		if err := add(ExecutionChanged, all); err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(c.Notices, perNotice) {
		if err := add(ExecutionNotice, Notices(some)); err != nil {
			return nil, err
		}
	}
	return msgs, nil
}

// rings are the attempts that one ant has to hear of.
type rings struct {
	id   string
	uids []string
}

// byAnt groups attempts by their ants, both in the order of their first appearance.
func byAnt(all []execution.Ring) []rings {
	var groups []rings
	at := map[string]int{}
	for _, r := range all {
		i, ok := at[r.Ant]
		if !ok {
			i = len(groups)
			at[r.Ant] = i
			groups = append(groups, rings{id: r.Ant})
		}
		groups[i].uids = append(groups[i].uids, r.UID.String())
	}
	return groups
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
	for _, ant := range byAnt(c.Stops) {
		p.hint(stop+ant.id, &antv1.StopHint{Uids: ant.uids})
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
