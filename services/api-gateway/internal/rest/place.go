package rest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/errs"
)

// logPlace is a place in the output of a task, "RUN-ATTEMPT-OFFSET" as the id of an event: a client that comes back while
// another attempt runs goes on in the one that it was in.
type logPlace struct {
	run, attempt int32
	offset       int64
}

// String is empty before there is an attempt.
func (p logPlace) String() string {
	if p.run == 0 || p.attempt == 0 {
		return ""
	}
	return fmt.Sprintf("%d-%d-%d", p.run, p.attempt, p.offset)
}

func parsePlace(id string) (p logPlace, ok bool) {
	part := strings.Split(id, "-")
	if len(part) != 3 {
		return p, false
	}
	run, err := strconv.ParseUint(part[0], 10, 31)
	attempt, aerr := strconv.ParseUint(part[1], 10, 31)
	offset, oerr := strconv.ParseUint(part[2], 10, 63)
	if err != nil || aerr != nil || oerr != nil || run == 0 || attempt == 0 {
		return p, false
	}
	return logPlace{int32(run), int32(attempt), int64(offset)}, true
}

// resumeLog lets a client that comes back go on where it was. What names no place is refused: begun at a guess, the log
// would lack a part or say one twice. The id of a version before named an offset alone, without saying of which attempt:
// such a client gets the log from its start, as every client may that has lost its place.
func resumeLog(r *http.Request) error {
	id := r.Header.Get(lastEventID)
	if id == "" {
		return nil
	}
	if _, err := strconv.ParseUint(id, 10, 63); err == nil {
		return nil
	}
	p, ok := parsePlace(id)
	if !ok {
		return errs.Invalid("LAST_EVENT_ID_INVALID", "Last-Event-ID %q names no place in a log: want RUN-ATTEMPT-OFFSET, the id of the last event; without it the log begins at its start", id)
	}
	q := r.URL.Query()
	q.Set("from_run", strconv.Itoa(int(p.run)))
	q.Set("from_attempt", strconv.Itoa(int(p.attempt)))
	q.Set("offset", strconv.FormatInt(p.offset, 10))
	r.URL.RawQuery = q.Encode()
	return nil
}
