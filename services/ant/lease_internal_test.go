package ant

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The guard of scripts reads the lease by the arithmetic of the shell, in which a number that begins with 0 is octal.
func TestShellsReadTheLease(t *testing.T) {
	dir := t.TempDir()
	l, err := openLease(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, known := l.age(); known {
		t.Error("there was a Sync before the first")
	}
	l.renew(time.Now().Add(-3 * time.Second))
	l.renew(time.Now().Add(-2 * time.Second))
	if age, known := l.age(); !known || age < 2*time.Second || age > time.Minute {
		t.Errorf("age %s %t", age, known)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `read -r s _ <"$1"; read -r up _ </proc/uptime; echo $((${up%.*} - ${s%.*} < 60))`, "sh", leasePath(dir)).Output()
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("a shell reads %q %v", out, err)
	}
	if err := os.WriteFile(leasePath(dir), []byte("99999999999.00  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, known := l.age(); known {
		t.Error("the lease of before the boot counts")
	}
}
