package shell

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

const (
	secretsDir = "secrets" // below the attempt's directory, where memory has no place for it
	inMemory   = "/dev/shm"
)

// secret writes a secret where only the task's user reads it: in memory, if the system has a place for files there. A workspace
// with secrets is not used again.
func (b *workspace) secret(s executor.Secret) (string, error) {
	if !filepath.IsLocal(s.File) {
		return "", fmt.Errorf("the file %q of a secret: want a path below the directory of secrets", s.File)
	}
	dir, err := b.secrets()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, s.File)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make a directory for secrets: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return "", fmt.Errorf("write the secret %s: %w", s.File, err)
	}
	_, err = f.WriteString(s.Value)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", fmt.Errorf("write the secret %s: %w", s.File, err)
	}
	return path, nil
}

// secrets makes the directory. What another user has put in its place in memory is not used.
func (b *workspace) secrets() (string, error) {
	var fs unix.Statfs_t
	if dir := memoryOf(b.dir); unix.Statfs(inMemory, &fs) == nil && fs.Type == unix.TMPFS_MAGIC {
		if err := os.Mkdir(dir, 0o700); err == nil || os.IsExist(err) && ours(dir) {
			return dir, nil
		}
	}
	dir := b.path(secretsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a directory for secrets: %w", err)
	}
	return dir, nil
}

// ours says that a directory is this user's, and nobody else's.
func ours(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o077 == 0 && int(st.Uid) == os.Geteuid()
}

// memoryOf is where the secrets of a workspace are in memory; its next life finds them by the name.
func memoryOf(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(inMemory, fmt.Sprintf("formicary-%x", sum[:12]))
}

// removeSecrets removes the secrets of a workspace from memory.
func removeSecrets(dir string) {
	if at := memoryOf(dir); ours(at) {
		_ = os.RemoveAll(at)
	}
}
