package cluster

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// The address of a database separates hosts by commas and quotes nothing that all who read it agree on, and the path of a
// socket has at most 107 bytes. So the socket lies beside the data only where the path is plain and short enough, else in
// a directory that is named after the data directory.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]*$`)

const maxSocket = 107 // of a unix socket's path, in bytes

// CheckDir reports what keeps a directory from being that of a cluster.
func CheckDir(dir string) error {
	if !utf8.ValidString(dir) || strings.ContainsFunc(dir, unicode.IsControl) {
		return fmt.Errorf("the path %q holds control characters or is no UTF-8; choose another directory", dir)
	}
	return nil
}

// socketDir returns where the socket of the cluster in dir lies.
func socketDir(dir string) string {
	if beside := filepath.Join(dir, "s"); fits(beside) {
		return beside
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(dir))
	name := fmt.Sprintf("formicary-%d-%016x", os.Getuid(), h.Sum64())
	if away := filepath.Join(os.TempDir(), name); fits(away) {
		return away
	}
	return filepath.Join("/tmp", name)
}

func fits(dir string) bool {
	return plainPath.MatchString(dir) && len(filepath.Join(dir, ".s.PGSQL.5432")) <= maxSocket
}

// makeSocketDir makes a directory that only the account of the server can use. One that is away from the data may have been
// made by somebody else, in the name of a server that is not ours.
func (a *account) makeSocketDir(socket string) error {
	err := os.MkdirAll(filepath.Dir(socket), 0o711) // #nosec G301 -- the server's own user passes through
	if err == nil {
		err = os.Mkdir(socket, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory of the database socket: %w", err)
	}
	info, err := os.Lstat(socket)
	if err != nil {
		return fmt.Errorf("make the directory of the database socket: %w", err)
	}
	uid := uint32(os.Getuid()) // #nosec G115 -- not negative on Unix
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm()&0o077 != 0 || st.Uid != uid && (!a.change || st.Uid != a.uid) {
		return fmt.Errorf("%s is there and not ours alone: the database socket would lie in it; remove it, or choose another --data", socket)
	}
	if !a.change {
		return nil
	}
	if err := os.Lchown(socket, int(a.uid), int(a.gid)); err != nil { // its owner may have put a link there since
		return fmt.Errorf("give the directory of the database socket to its user: %w", err)
	}
	return nil
}

// removeSocketDir removes a directory that is not beside the data.
func removeSocketDir(dir, socket string) {
	if filepath.Dir(socket) != dir {
		_ = os.Remove(filepath.Join(socket, ".s.PGSQL.5432"))
		_ = os.Remove(filepath.Join(socket, ".s.PGSQL.5432.lock"))
		_ = os.Remove(socket)
	}
}
