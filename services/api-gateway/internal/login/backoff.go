package login

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/formicary/formicary/libs/errs"
)

// limit says how often one may be wrong.
type limit struct {
	// free failures cost no time; each further one doubles the wait from a second up to most.
	free int
	most time.Duration
}

// An account is slowed down less than an address, because everybody can make attempts at an account.
var (
	perAccount = limit{free: 5, most: 5 * time.Minute}   //nolint:gochecknoglobals // constants
	perAddress = limit{free: 30, most: 15 * time.Minute} //nolint:gochecknoglobals // constants
)

// forgotten is when failures do not count any more.
const forgotten = 24 * time.Hour

// wait returns how long nothing is looked at after that many failures.
func (l limit) wait(failures int) time.Duration {
	over := failures - l.free
	if over <= 0 {
		return 0
	}
	return min(time.Second<<min(over-1, 20), l.most)
}

// Failures are the attempts of one key that were not right.
type Failures struct {
	Count  int
	LastAt time.Time
	Until  time.Time
}

// Attempts keeps failures.
type Attempts interface {
	// Attempt applies f to the failures of keys, which it locks, and stores what f changed if that has no error.
	Attempt(ctx context.Context, keys []string, now time.Time, f func([]Failures) error) error
}

// guard counts an attempt by someone at something, and refuses it while one of both has to wait.
type guard struct {
	store Attempts
	now   func() time.Time
}

// attempt counts one as wrong until right is called. account may be empty.
func (g guard) attempt(ctx context.Context, account, address string) (right func(context.Context) error, err error) {
	keys, limits := []string{}, []limit{}
	if account != "" {
		keys, limits = append(keys, "account:"+account), append(limits, perAccount)
	}
	if net := network(address); net != "" {
		keys, limits = append(keys, "address:"+net), append(limits, perAddress)
	}
	now := g.now()
	err = g.store.Attempt(ctx, keys, now, func(f []Failures) error {
		for i := range f {
			if now.Before(f[i].Until) {
				return tooMany(f[i].Until.Sub(now))
			}
		}
		for i := range f {
			if now.Sub(f[i].LastAt) > forgotten {
				f[i].Count = 0
			}
			f[i].Count++
			f[i].LastAt, f[i].Until = now, now.Add(limits[i].wait(f[i].Count))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return g.store.Attempt(ctx, keys, now, func(f []Failures) error {
			for i := range f {
				// One right guess clears the account. From an address many accounts may be tried, so only this attempt is taken back.
				if f[i].Count--; limits[i] == perAccount || f[i].Count < 0 {
					f[i].Count = 0
				}
				f[i].Until = now
			}
			return nil
		})
	}, nil
}

func tooMany(wait time.Duration) error {
	seconds := int64((wait + time.Second - 1) / time.Second)
	return errs.Exhausted("LOGIN_TOO_MANY", "too many attempts were wrong; try again in %d s", seconds).WithMeta("retry_after_seconds", fmt.Sprint(seconds)).After(time.Duration(seconds) * time.Second)
}

// network is what counts as one address: of IPv6 everybody has at least 64 bits.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		net, _ := addr.Prefix(64)
		return net.String()
	}
	return addr.String()
}
