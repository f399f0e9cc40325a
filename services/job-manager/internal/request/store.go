package request

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/job-manager/internal/config"
)

// Draft is a checked submission on its way into the store.
type Draft struct {
	Record Record
	// Sealed are its parameters of type secret, encrypted; in Record they are masked.
	Sealed []config.Sealing
	// Seen is the newest version of the job type when the definition was chosen for it: when there is another one, nothing
	// is stored. 0 for a definition that was named exactly.
	Seen int
	// Owner is the organisation whose definition it is: of a plugin another one than that of the record.
	Owner string
	// Disabled is the switch of the job type when it was looked up.
	Disabled bool
}

// Changes counts what was changed of error rules and configs.
type Changes struct{ Rules, Configs int64 }

// Stored is the outcome of a draft: the request as it is stored, and whether this draft made it. A draft whose
// definition is not current any more has neither: Stale.
type Stored struct {
	Record  Record
	Created bool
	Stale   bool
}

// Ref names a request of an org: an id, a prefix of one, or a word.
type Ref struct {
	OrgID string
	// Low and High bound the ids that a prefix can mean; they are equal for a whole id.
	Low, High uuid.UUID
	// State picks the newest request in that state; Latest the newest of all.
	State  State
	Latest bool
}

// Family is what is known of children and their parents.
type Family struct {
	// Children by their keys.
	Children map[string]Record
	// Refused are keys that were cancelled before they were submitted.
	Refused map[string]bool
	Parents map[uuid.UUID]Record
}

// Filter asks for a page of requests, newest first.
type Filter struct {
	OrgID   string
	JobType string // empty means all
	States  []State
	Parent  uuid.UUID // zero means all
	Before  uuid.UUID // zero for the first page
	Limit   int
}

// Store keeps requests. Every change and the events that tell of it are committed together.
type Store interface {
	// Submit stores a batch in one transaction, with one result and one error per draft: QUOTA_EXCEEDED for those that the
	// quota of their organisation has no room for.
	Submit(ctx context.Context, drafts []Draft) ([]Stored, []error)
	// SubmitChildren is Submit for what tasks fork. Nothing is stored, and the draft is Stale, also where the key is known
	// or was refused, or the job type is disabled.
	SubmitChildren(ctx context.Context, drafts []Draft) ([]Stored, []error)
	// Room says by its error that the quota of an organisation lets no further request wait.
	Room(ctx context.Context, org string) error
	// Family returns what is known of the keys, and those of the parents that exist.
	Family(ctx context.Context, keys []string, parents []uuid.UUID) (Family, error)
	// Refuse remembers that the keys which were never submitted never will be, and returns the requests of the others.
	Refuse(ctx context.Context, keys []string, reason string) ([]uuid.UUID, error)
	// Count counts the requests of a job type that are in one of the states; no states: in any.
	Count(ctx context.Context, org, jobType string, states []State) (int, error)
	// ByKey returns the request that was submitted with an idempotency key.
	ByKey(ctx context.Context, org, key string) (rec Record, found bool, err error)
	// Find returns up to two requests that ref may mean.
	Find(ctx context.Context, ref Ref) ([]Record, error)
	// ToLaunch returns those of the ids that exist, and how often was changed what launches are made of.
	ToLaunch(ctx context.Context, ids []uuid.UUID) (recs []Record, changes Changes, err error)
	// Launched remembers what the launches say beyond their run; see Launch.Memorable.
	Launched(ctx context.Context, launches []Launch) error
	List(ctx context.Context, f Filter) ([]Record, error)
	// Update locks the requests that exist, applies change to each and saves what changed with its events. An error of
	// change undoes the whole. now is the clock of the database. change may be called again when the transaction is
	// repeated.
	Update(ctx context.Context, ids []uuid.UUID, change func(now time.Time, r *Request) error) ([]Record, error)
	// Standing returns what stands around pending requests of these records, in their order, and the database's clock.
	// Ranks are counted only when ranked is set.
	Standing(ctx context.Context, recs []Record, ranked bool) ([]Standing, time.Time, error)
}

// Sweeps are the slow loops over the store that find what no message tells of.
type Sweeps interface {
	// Silent takes a bounded number of requests that heard nothing for too long and are not being looked at by another
	// replica.
	Silent(ctx context.Context, limit int) ([]Record, error)
	// DueToResume returns paused requests whose time to resume has come, and when the next one comes.
	DueToResume(ctx context.Context, limit int) (ids []uuid.UUID, next *time.Time, err error)
	// Overdue returns requests that have waited for their start longer than they may, and when the next one has.
	Overdue(ctx context.Context, limit int) (recs []Record, next *time.Time, err error)
}
