package events

import (
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Moves tells watchers that their tasks changed, by the hints that every replica gives. They may get lost. It listens
// while somebody watches.
type Moves struct {
	NATS *nats.Conn

	mu       sync.Mutex
	sub      *nats.Subscription
	watchers map[watched]map[chan struct{}]bool
}

type watched struct {
	execution.Key
	task string
}

// Watch returns a channel that gets something after the task has changed, once for any number of changes. stop ends it.
func (m *Moves) Watch(key execution.Key, task string) (moved <-chan struct{}, stop func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sub == nil {
		if m.sub, err = m.NATS.Subscribe(liveTask, m.hint); err != nil {
			m.sub = nil
			return nil, nil, fmt.Errorf("listen to tasks: %w", err)
		}
		m.watchers = map[watched]map[chan struct{}]bool{}
	}
	w, c := watched{key, task}, make(chan struct{}, 1)
	if m.watchers[w] == nil {
		m.watchers[w] = map[chan struct{}]bool{}
	}
	m.watchers[w][c] = true
	return c, func() { m.leave(w, c) }, nil
}

func (m *Moves) leave(w watched, c chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.watchers[w], c); len(m.watchers[w]) == 0 {
		delete(m.watchers, w)
	}
	if len(m.watchers) == 0 && m.sub != nil {
		_ = m.sub.Unsubscribe() // the connection may be closed already
		m.sub = nil
	}
}

func (m *Moves) hint(msg *nats.Msg) {
	var all executionv1.TaskChanges
	if proto.Unmarshal(msg.Data, &all) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range all.GetChanges() {
		id, err := uuid.Parse(c.GetRequestId())
		if err != nil {
			continue
		}
		for watcher := range m.watchers[watched{execution.Key{Request: id, Run: int(c.GetRun())}, c.GetTask()}] {
			select {
			case watcher <- struct{}{}:
			default:
			}
		}
	}
}
