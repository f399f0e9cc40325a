package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // zones are the same on every machine

	"github.com/formicary/formicary/libs/jobspec/cron"
	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// What happens when a job is due while its last run has not ended.
const (
	OverlapSkip          = "skip"
	OverlapQueue         = "queue"
	OverlapCancelRunning = "cancel_running"
)

// Which runs are made up for that were missed while the system was down.
const (
	CatchUpNone = "none"
	CatchUpLast = "last"
	CatchUpAll  = "all"
)

// Schedule starts a job at times: one entry of schedule, or cron_trigger.
type Schedule struct {
	// Cron text of 5 to 7 fields, or a name such as @daily; it has been checked.
	Cron string `json:"cron"`
	// Timezone is a name of the IANA database, UTC when none is given.
	Timezone string `json:"timezone"`
	// Overlap is one of the Overlap constants, queue when none is given. CatchUp is one of the CatchUp constants, none
	// when none is given.
	Overlap string `json:"overlap"`
	CatchUp string `json:"catch_up"`
	// Calendar names days without runs; empty: all days count.
	Calendar string `json:"calendar,omitempty"`
}

// Retention is how many days runs are kept after they have ended.
type Retention struct {
	Failed    int `json:"failed"`
	Completed int `json:"completed"`
	Cancelled int `json:"cancelled"`
}

// DefaultRetention is how long runs of a job that says nothing are kept.
func DefaultRetention() Retention { return Retention{Failed: 30, Completed: 7, Cancelled: 30} }

func overlaps() []string { return []string{OverlapSkip, OverlapQueue, OverlapCancelRunning} }
func catchUps() []string { return []string{CatchUpNone, CatchUpLast, CatchUpAll} }

// schedules reads the list of schedules.
func (r reader) schedules(n *source.Node) []Schedule {
	var out []Schedule
	for _, item := range r.Mappings(n, "a schedule") {
		s := Schedule{Timezone: "UTC", Overlap: OverlapQueue, CatchUp: CatchUpNone}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "cron":
				s.Cron = r.cron(p.Value)
			case "timezone":
				s.Timezone = r.timezone(p.Value)
			case "overlap":
				s.Overlap = r.OneOf(p.Value, OverlapQueue, overlaps())
			case "catch_up":
				s.CatchUp = r.OneOf(p.Value, CatchUpNone, catchUps())
			case "calendar":
				s.Calendar = r.Literal(p.Value, "the calendar", value.MaxName)
			default:
				r.Unknown(p, Fields)
			}
		}
		r.Required(item, "cron", "cron text, such as 0 6 * * 1-5")
		out = append(out, s)
	}
	return out
}

// cron reads cron text that must be known before anything is rendered.
func (r reader) cron(n *source.Node) string {
	text := strings.TrimSpace(r.Literal(n, "cron text", cron.MaxText))
	if n.Templated {
		return ""
	}
	if err := cron.Check(text); err != nil {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no cron text: "+err.Error(), "5 to 7 fields such as 0 6 * * 1-5, or a name such as @daily")
		return ""
	}
	return text
}

func (r reader) timezone(n *source.Node) string {
	name := r.Literal(n, "the time zone", value.MaxName)
	if n.Templated {
		return "UTC"
	}
	if !validZone(name) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no time zone", "a name of the IANA database, such as Europe/Berlin or UTC")
		return "UTC"
	}
	return name
}

// validZone knows the names of the IANA database. Local is not one of them: it is another zone on each machine.
func validZone(name string) bool {
	if name == "" || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

func (r reader) deadline(n *source.Node) *plan.Deadline {
	text, known := r.Planned(n)
	if !known || text == "" {
		return nil
	}
	if d, err := read.ParseDuration(text); err == nil && d > 0 {
		return &plan.Deadline{After: d}
	}
	clock, zone, _ := strings.Cut(text, " ")
	if at, err := time.Parse("15:04", clock); err == nil {
		if zone = strings.TrimSpace(zone); zone == "" {
			zone = "UTC"
		}
		if validZone(zone) {
			return &plan.Deadline{At: at.Format("15:04"), Timezone: zone}
		}
	}
	r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no deadline", "a duration such as 2h, or a time of day such as 06:30 Europe/Berlin")
	return nil
}

// concurrency reads the mapping, or the limit alone.
func (r reader) concurrency(at *source.Pair) *plan.Concurrency {
	c := &plan.Concurrency{OnConflict: plan.ConflictQueue}
	if at.Value.Kind == source.Scalar {
		c.Limit = r.LiteralInt(at.Value, at.Key, MaxConcurrency)
		return c
	}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "limit":
			c.Limit = r.LiteralInt(p.Value, p.Key, MaxConcurrency)
		case "key":
			c.Key = r.Short(p.Value)
		case "on_conflict":
			c.OnConflict = r.OneOf(p.Value, plan.ConflictQueue, plan.Conflicts())
		default:
			r.Unknown(p, ConcurrencyFields)
		}
	}, at)
	return c
}

// Fields are those of a schedule.
func Fields() []field.Field {
	return []field.Field{
		{Name: "cron", Form: CronForm(), Doc: "Cron text of 5 to 7 fields, or a name such as @daily."},
		{Name: "timezone", Form: field.Literal(value.MaxName), Doc: "A name of the IANA database; UTC when not given."},
		{Name: "overlap", Form: field.Word(overlaps()...), Doc: "What happens when the last run has not ended; queue when not given."},
		{Name: "catch_up", Form: field.Word(catchUps()...), Doc: "Which missed runs are made up for; none when not given."},
		{Name: "calendar", Form: field.Literal(value.MaxName), Doc: "A calendar of days without runs."},
	}
}

// ConcurrencyFields are those of concurrency.
func ConcurrencyFields() []field.Field {
	return []field.Field{
		{Name: "limit", Form: field.Whole(0, MaxConcurrency), Doc: "How many runs there may be at once; 0 means no limit."},
		{Name: "key", Form: field.Text(), Doc: "A template: the limit is for runs with the same text.", Inactive: true},
		{Name: "on_conflict", Form: field.Word(plan.Conflicts()...), Doc: "What happens to a run beyond the limit; queue when not given.", Inactive: true, Idle: plan.ConflictQueue},
	}
}

// CronForm is the form of cron text.
func CronForm() field.Form {
	return field.Form{"type": "string", "pattern": `^\s*(@[A-Za-z0-9]+|\S+(\s+\S+){4,6})\s*$`}
}

// MaxConcurrency bounds the runs at once.
const MaxConcurrency = 100_000

// reader reads when a job runs.
type reader struct{ *read.Reader }

// Read reads the list of schedules.
func Read(r *read.Reader, n *source.Node) []Schedule { return reader{r}.schedules(n) }

// Cron reads cron text, the short form of a schedule.
func Cron(r *read.Reader, n *source.Node) string { return reader{r}.cron(n) }

// Deadline reads the goal to be ready by.
func Deadline(r *read.Reader, n *source.Node) *plan.Deadline {
	return reader{r}.deadline(n)
}

// Concurrency reads the limit of runs: a mapping, or the number alone.
func Concurrency(r *read.Reader, at *source.Pair) *plan.Concurrency {
	return reader{r}.concurrency(at)
}
