package identity

import (
	"time"

	"github.com/google/uuid"
)

// Store keeps all of it. What is read does not exist where it must not be seen: the error is NoOrg, NoUser, NoMember.
type Store interface {
	Orgs
	Users
	Members
	Invitations
}

// Manager is what is done with orgs, users and members.
type Manager struct {
	store   Store
	now     func() time.Time
	changed func()
}

// NewManager returns a manager. changed is called when somebody's rights may have become other ones.
func NewManager(store Store, now func() time.Time, changed func()) *Manager {
	return &Manager{store, now, changed}
}

// Store is for what only reads.
func (m *Manager) Store() Store { return m.store }

// change tells of a change that was made.
func (m *Manager) change(err error) error {
	if err == nil {
		m.changed()
	}
	return err
}

// NewID returns an id; newer ones are greater.
func NewID() uuid.UUID {
	return uuid.Must(uuid.NewV7()) // the random source of Go never fails
}
