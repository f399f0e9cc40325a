package ant

import "fmt"

// Brake says whether so many leases ended in one cycle that the fault is more likely here (a slow database, a paused
// host, a cut network) than with the ants: at least two and more than 30 % of those that were alive. Then nothing goes
// OFFLINE for one more lease.
func Brake(alive, ended int) bool {
	return ended >= 2 && 10*ended > 3*alive
}

// Expire is the end of a lease.
type Expire struct {
	ID     string
	Braked bool // it got its second lease already
}

// Expired divides the ants whose leases ended: offline now, or one more lease. alive counts those that were not
// OFFLINE, the ended ones among them; slow says that the database was, so that beats may have been late on our side.
func Expired(alive int, ended []Expire, slow bool) (offline, spared []string) {
	var fresh []string
	for _, e := range ended {
		if e.Braked {
			offline = append(offline, e.ID)
		} else {
			fresh = append(fresh, e.ID)
		}
	}
	if slow || Brake(alive, len(fresh)) {
		return offline, fresh
	}
	return append(offline, fresh...), nil
}

// Alarm is said when the brake works.
func Alarm(alive int, spared []string) string {
	return fmt.Sprintf("the leases of %d of %d ants ended at once: they get one more", len(spared), alive)
}
