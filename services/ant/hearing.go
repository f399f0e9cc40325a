package ant

import (
	"strings"
	"sync"
	"time"
)

// hearing says whether doorbells reach the ant. A beat tells it: an ant that cannot hear must not be given work.
type hearing struct {
	beat func() // is called when the ant hears again

	mu    sync.Mutex
	since time.Time // when it stopped hearing; zero while it hears
	why   string
	told  bool
}

const (
	// deafAfter keeps a restart of NATS, which every ant notices, from taking all ants away.
	deafAfter = 5 * time.Second
	longWhy   = 300
)

// listening takes note of what the consumer of doorbells says.
func (h *hearing) listening(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		if h.told {
			h.beat()
		}
		h.since, h.why, h.told = time.Time{}, "", false
	case h.since.IsZero():
		h.since, h.why = time.Now(), err.Error()
		h.why = strings.ToValidUTF8(strings.ReplaceAll(h.why[:min(len(h.why), longWhy)], "\x00", ""), "") // a message takes nothing else
	}
}

// deaf says why the ant does not hear; empty when it does, or may again in a moment.
func (h *hearing) deaf() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() || time.Since(h.since) < deafAfter {
		return ""
	}
	h.told = true
	return h.why
}
