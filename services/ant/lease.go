package ant

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// lease is a file with the time of the last good Sync, in seconds since boot: /proc/uptime goes on while a host is
// suspended and is not set as clocks are, and a shell script can read it.
type lease struct{ file *os.File }

const leaseFile = "lease"

func leasePath(dir string) string { return filepath.Join(dir, leaseFile) }

func openLease(dir string) (*lease, error) {
	f, err := os.OpenFile(leasePath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lease: %w", err)
	}
	return &lease{f}, nil
}

// age is how long the last good Sync is ago; false when there was none since the host was booted.
func (l *lease) age() (time.Duration, bool) {
	var line [32]byte
	n, _ := l.file.ReadAt(line[:], 0)
	synced, ok := seconds(line[:n])
	up, err := uptime()
	return time.Duration((up - synced) * float64(time.Second)), ok && err == nil && up >= synced
}

// renew notes a good Sync.
func (l *lease) renew(sent time.Time) {
	up, err := uptime()
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(at{l.file}, "%-15.2f\n", max(0, up-time.Since(sent).Seconds()))
}

func (l *lease) close() { _ = l.file.Close() }

// at writes at the beginning of a file.
type at struct{ *os.File }

func (a at) Write(p []byte) (int, error) { return a.WriteAt(p, 0) }

func uptime() (float64, error) {
	raw, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, fmt.Errorf("read uptime: %w", err)
	}
	up, _ := seconds(raw)
	return up, nil
}

// seconds reads the number at the beginning of a line.
func seconds(line []byte) (float64, bool) {
	word, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	s, err := strconv.ParseFloat(string(word), 64)
	return s, err == nil
}
