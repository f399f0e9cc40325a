// Package ant is the worker process as resource-manager sees it: a session with a lease, what it offers, and whether
// it takes work.
//
//	register ──▶ ONLINE ◀──resume── DRAINING      DRAINING: an operator or the ant wants no more work
//	               │  ──drain──▶       │
//	               └──lease ended, left┴──▶ OFFLINE ──beat, register──▶ ONLINE or DRAINING
//
// A state never moves by itself: it follows from the lease and the two wishes to drain, and moves refuses the rest.
package ant

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// State of an ant.
type State string

// The states.
const (
	Online   State = "ONLINE"
	Draining State = "DRAINING"
	Offline  State = "OFFLINE"
)

// moves are the allowed changes of state.
func moves(from, to State) bool {
	switch from {
	case "": // a new ant
		return to == Online || to == Draining
	case Online:
		return to == Draining || to == Offline
	case Draining:
		return to == Online || to == Offline
	case Offline:
		return to == Online || to == Draining
	}
	return false
}

// Ant is one row. Its fields are read by adapters and changed by the methods.
type Ant struct {
	ID            string
	Org           string     // that it is offered to; empty for all
	Pool          string     // that it joined for
	Session       *uuid.UUID // nil after it left
	Generation    int64
	State         State
	DrainWanted   bool // by an operator
	DrainReported bool // by itself
	Methods       []string
	Tags          []string
	Unhealthy     []string
	Offered       int // slots it brings
	Slots         int // what Used may reach: more than Offered after it came back with fewer slots than it uses
	Used          int
	Version       string
	Labels        map[string]string
	RegisteredAt  time.Time
	HeartbeatAt   time.Time
	LeaseUntil    time.Time
	Braked        bool
	OfflineAt     *time.Time
	Unreachable   string // why it does not hear of work, by its own word
	Heard         int64  // claims of its process that were answered
	Doubt         Doubt
}

// Offer is what an ant registers with.
type Offer struct {
	Org     string // that the ant belongs to; empty for one of the platform
	Pool    string
	Methods []string
	Tags    []string
	Slots   int
	Version string
	Labels  map[string]string
}

// Register opens a session and supersedes the one before; one that is open stays as it is. What an operator wanted stays. Workers of a bridge choose their
// ids themselves: none of them may take the id of an ant that is there, which would end it, nor the other way round.
//
// The generation follows the clock, in microseconds: others keep it for longer than this row lives, and an ant that was
// removed, or whose row came back from a copy, must not begin below what they know. It fits the 53 bits of a number in
// JSON until the year 2255.
func (a *Ant) Register(o Offer, session uuid.UUID, lease time.Duration, now time.Time) error {
	if a.Session != nil && a.LeaseUntil.After(now) && ofWorker(a.Methods) != ofWorker(o.Methods) {
		return errs.Invalid("ANT_ID_TAKEN", "the id %s is in use: no worker and no ant may have the id of the other", a.ID)
	}
	if a.Session != nil && *a.Session == session { // another try of the same registration, which may come late
		a.HeartbeatAt, a.LeaseUntil, a.Braked = now, now.Add(lease), false
		return a.updateState(now)
	}
	a.Session = &session
	a.Generation = max(a.Generation+1, now.UnixMicro())
	a.DrainReported = false
	a.Methods, a.Tags, a.Unhealthy = clean(o.Methods, strings.ToUpper), clean(o.Tags, strings.ToLower), []string{}
	a.Offered, a.Slots = o.Slots, max(o.Slots, a.Used)
	a.Unreachable, a.Heard, a.Doubt = "", 0, Doubt{}
	a.Org, a.Pool, a.Version, a.Labels = o.Org, o.Pool, o.Version, o.Labels
	a.RegisteredAt, a.HeartbeatAt = now, now
	a.LeaseUntil, a.Braked = now.Add(lease), false
	return a.updateState(now)
}

// ofWorker says that an ant stands for a worker of a bridge.
func ofWorker(methods []string) bool {
	return slices.ContainsFunc(methods, func(m string) bool { return strings.EqualFold(strings.TrimSpace(m), "WEBSOCKET") })
}

// Pulse is what an ant says in a beat.
type Pulse struct {
	Session     uuid.UUID
	Generation  int64 // of the session; 0 when it does not say
	Unhealthy   []string
	Draining    bool
	Unreachable string
	Heard       int64
}

// Beat keeps the lease. A late beat brings an OFFLINE ant back: nobody took its session.
func (a *Ant) Beat(p Pulse, lease time.Duration, now time.Time) error {
	if p.Generation > a.Generation { // what is known here is an older copy: nobody has superseded the ant
		return errs.NotFound("ANT_UNKNOWN", "the session of ant %s is not known: register again", a.ID)
	}
	if err := a.own(p.Session); err != nil {
		return err
	}
	if p.Heard > a.Heard || a.Unreachable != "" && p.Unreachable == "" {
		a.Doubt = Doubt{}
	}
	a.Unhealthy, a.DrainReported, a.Unreachable, a.Heard = clean(p.Unhealthy, strings.ToUpper), p.Draining, p.Unreachable, p.Heard
	a.HeartbeatAt = now
	a.LeaseUntil, a.Braked = now.Add(lease), false
	return a.updateState(now)
}

// Leave ends the session.
func (a *Ant) Leave(session uuid.UUID, now time.Time) error {
	if err := a.own(session); err != nil {
		return err
	}
	a.Session, a.LeaseUntil = nil, now
	return a.updateState(now)
}

// Drain and Resume are an operator's wish; they take effect on an OFFLINE ant when it is back.
func (a *Ant) Drain(now time.Time) error {
	a.DrainWanted = true
	return a.updateState(now)
}

// Resume ends the drain that an operator wanted.
func (a *Ant) Resume(now time.Time) error {
	a.DrainWanted = false
	return a.updateState(now)
}

// own says whether the session is the newest of the ant.
func (a *Ant) own(session uuid.UUID) error {
	switch {
	case a.Generation == 0 || a.Session == nil:
		return errs.NotFound("ANT_UNKNOWN", "ant %s has no session: register again", a.ID)
	case *a.Session != session:
		return errs.Precondition("SESSION_SUPERSEDED", "ant %s registered again: this session is over", a.ID)
	}
	return nil
}

// updateState moves the ant to the state that its lease and wishes ask for. A state that is right already stays, also
// OFFLINE past its lease.
func (a *Ant) updateState(now time.Time) error {
	want := Online
	switch {
	case a.Session == nil, !a.LeaseUntil.After(now):
		want = Offline
	case a.DrainWanted, a.DrainReported:
		want = Draining
	}
	if a.State == want {
		return nil
	}
	if a.State == "" && want == Offline || !moves(a.State, want) {
		return fmt.Errorf("ant %s cannot move from %q to %s", a.ID, a.State, want)
	}
	a.State, a.OfflineAt = want, nil
	if want == Offline {
		a.OfflineAt = &now
	}
	return nil
}

// clean returns sorted distinct words without blanks.
func clean(in []string, fold func(string) string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		if s = fold(strings.TrimSpace(s)); s != "" {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
