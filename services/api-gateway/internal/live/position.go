package live

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An id is "hub-number-mark". In the hub that gave it out the number says exactly what came after it. Another replica
// hears the same events, but may hear those of different publishers in another order, and has numbers of its own; what
// both know is the mark, the newest time of an event so far, which is the database's clock. So another replica sends
// again what came to it since its own mark was a little below that of the id, some of it twice: events carry versions.
//
// It may say that nothing is missing when it has heard everything since then. What it heard before its first event it
// knows only by its own clock; the slack covers the difference of the clocks.

// slack is how far replicas may be apart in what they have heard, and how far clocks may be.
const slack = 2 * time.Second

// id of the newest event. The lock is held.
func (h *Hub) id() string { return fmt.Sprintf("%s-%d-%d", h.born, h.seq, max(h.mark, h.base)) }

// find returns the number of the last event that a client need not be sent again; false when some that it has not seen
// may be lost. The lock is held.
func (h *Hub) find(id string) (uint64, bool) {
	part := strings.Split(id, "-")
	if len(part) != 3 {
		return 0, false
	}
	n, err := strconv.ParseUint(part[1], 10, 64)
	mark, merr := strconv.ParseInt(part[2], 10, 64)
	if err != nil || merr != nil {
		return 0, false
	}
	oldest := h.gap // the newest number whose event is not kept
	if kept := uint64(len(h.kept)); h.seq > kept {
		oldest = max(oldest, h.seq-kept)
	}
	if part[0] == h.born {
		return n, n >= oldest && n <= h.seq
	}
	return h.since(oldest, mark-slack.Microseconds())
}

// since returns the last event whose mark is not above mark, of those after oldest.
func (h *Hub) since(oldest uint64, mark int64) (n uint64, complete bool) {
	complete = oldest == h.gap && h.base <= mark
	for n = oldest; n < h.seq; n++ {
		if h.kept[(n+1)%uint64(len(h.kept))].mark > mark {
			break
		}
		complete = true
	}
	return n, complete
}
