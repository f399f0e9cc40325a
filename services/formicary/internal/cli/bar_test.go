package cli

import (
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	b := &bar{what: "files", done: 512 << 10, total: 1 << 20, began: time.Unix(0, 0)}
	if got, want := b.line(time.Unix(2, 0)), "files  [===============               ]  50%  512.0 KiB of 1.0 MiB  256.0 KiB/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.total = -1
	if got, want := b.line(time.Unix(1, 0)), "files  512.0 KiB  512.0 KiB/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 30: "1.0 GiB", 1<<62 + 1: "4096.0 PiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
