package pki

import (
	"sync"
	"time"
)

// Renewing returns a source of identities that the authority issues in this process: each is replaced when a third of
// its life is left. One that cannot be replaced is used as long as it lives.
func (a *Authority) Renewing(name Name, life time.Duration, hosts ...string) (Source, error) {
	first, err := a.Issue(name, life, hosts...)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	current := first
	return func() *Identity {
		mu.Lock()
		defer mu.Unlock()
		if a.now().After(current.Cert.NotAfter.Add(-life / 3)) {
			if next, err := a.Issue(name, life, hosts...); err == nil {
				current = next
			}
		}
		return current
	}, nil
}

// ServiceLife is how long certificates of services are good for that the colony issues itself.
const ServiceLife = 24 * time.Hour
