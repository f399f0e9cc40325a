package attempt

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/template"
)

// mostAnswers bounds the answers of hosts that are remembered; the attempts that began to ask first are forgotten first.
const mostAnswers = 50_000

// answers remember what hosts have answered the templates of attempts. A claim has a few seconds and a template may ask
// for longer: the claim that comes again goes on where the last one ended, and shows what that has counted.
type answers struct {
	mu    sync.Mutex
	of    map[uuid.UUID]map[string]any
	order []uuid.UUID // those that began to ask first come first
	count int
}

func (a *answers) get(uid uuid.UUID, question string) (any, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.of[uid][question]
	return v, ok
}

func (a *answers) put(uid uuid.UUID, question string, answer any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.of[uid]
	if own == nil {
		if own = map[string]any{}; a.of == nil {
			a.of = map[uuid.UUID]map[string]any{}
		}
		a.of[uid] = own
		a.order = append(a.order, uid)
	}
	if _, known := own[question]; !known {
		a.count++
	}
	own[question] = answer
	for a.count > mostAnswers && len(a.order) > 1 {
		a.count -= len(a.of[a.order[0]])
		delete(a.of, a.order[0])
		a.order = a.order[1:]
	}
}

// remembering is the host of one rendering that asks only what was not answered before.
type remembering struct {
	host  template.Host
	known *answers
	uid   uuid.UUID
	times map[string]int // how often a count was asked for in this rendering: each may differ from the one before
}

func (a *answers) host(uid uuid.UUID, host template.Host) template.Host {
	return &remembering{host: host, known: a, uid: uid, times: map[string]int{}}
}

// CountByState implements template.Host.
func (r *remembering) CountByState(jobType string, states []string) (int, error) {
	question := fmt.Sprintf("count %q %q", jobType, states)
	r.times[question]++
	question = fmt.Sprintf("%s %d", question, r.times[question])
	if v, ok := r.known.get(r.uid, question); ok {
		return v.(int), nil
	}
	n, err := r.host.CountByState(jobType, states)
	if err == nil {
		r.known.put(r.uid, question, n)
	}
	return n, err
}

// Submit implements template.Host.
func (r *remembering) Submit(jobType, description string, params map[string]any) (string, error) {
	raw, err := json.Marshal([]any{jobType, description, params})
	if err != nil {
		return "", fmt.Errorf("encode the parameters of %s: %w", jobType, err)
	}
	sum := sha256.Sum256(raw)
	question := string(sum[:])
	if v, ok := r.known.get(r.uid, question); ok {
		return v.(string), nil
	}
	id, err := r.host.Submit(jobType, description, maps.Clone(params))
	if err == nil {
		r.known.put(r.uid, question, id)
	}
	return id, err
}
