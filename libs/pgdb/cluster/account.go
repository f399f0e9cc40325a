package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that the server runs as: initdb and postgres refuse root.
type account struct {
	uid, gid uint32
	// change says that it differs from ours.
	change bool
	// userns runs the server in a user namespace of its own, in which we are not root.
	userns bool
}

// identity chooses the account. As root: postgres or nobody where the directory can be reached by them, else a user
// namespace.
func identity(dir string) (*account, error) {
	if os.Getuid() != 0 {
		return &account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		if closedParent(dir) == "" {
			return &account{uid: uint32(uid), gid: uint32(gid), change: true}, nil
		}
	}
	if _, err := os.Stat("/proc/self/ns/user"); err == nil {
		return &account{userns: true}, nil
	}
	if p := closedParent(dir); p != "" {
		return nil, fmt.Errorf("PostgreSQL does not run as root and %s cannot be passed by another user: chmod o+x %s, or choose another --data", p, p)
	}
	return nil, errors.New("PostgreSQL does not run as root and there is neither a user postgres nor nobody: run as another user")
}

// closedParent returns the first folder on the way to dir that other users cannot pass, or "".
func closedParent(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && info.Mode().Perm()&0o001 == 0 {
			return d
		}
		if d == filepath.Dir(d) {
			return ""
		}
	}
}

// own gives a folder to the account.
func (a *account) own(dir string) error {
	if !a.change {
		return nil
	}
	if err := os.Chown(dir, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give database directory to its user: %w", err)
	}
	return nil
}

// attr is how a process of the account is started.
func (a *account) attr() *syscall.SysProcAttr {
	switch {
	case a.change:
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
	case a.userns:
		const inside = 1000
		return &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getgid(), Size: 1}},
			Credential:  &syscall.Credential{Uid: inside, Gid: inside, NoSetGroups: true},
		}
	}
	return &syscall.SysProcAttr{}
}
