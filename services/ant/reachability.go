package ant

import (
	"strings"
	"sync"
	"time"
)

// reachability says whether doorbells reach the ant. Its beats report it: an ant that they do not reach must not be given work.
type reachability struct {
	beat func() // is called when they reach it again

	mu       sync.Mutex
	since    time.Time // when they no longer reached it; zero while they do
	why      string
	reported bool
}

const (
	// deafAfter keeps a restart of NATS, which every ant notices, from taking all ants away.
	unreachableAfter = 5 * time.Second
	longWhy          = 300
)

// report is given what the consumer of doorbells says.
func (h *reachability) report(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		if h.reported {
			h.beat()
		}
		h.since, h.why, h.reported = time.Time{}, "", false
	case h.since.IsZero():
		h.since, h.why = time.Now(), err.Error()
		h.why = strings.ToValidUTF8(strings.ReplaceAll(h.why[:min(len(h.why), longWhy)], "\x00", ""), "") // a message takes nothing else
	}
}

// unreachable says why doorbells do not reach the ant; empty when they do, or may again in a moment.
func (h *reachability) unreachable() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() || time.Since(h.since) < unreachableAfter {
		return ""
	}
	h.reported = true
	return h.why
}
