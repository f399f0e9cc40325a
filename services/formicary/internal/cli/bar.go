package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// bar shows how far a transfer is, on one line of a terminal; elsewhere it shows nothing.
type bar struct {
	w           io.Writer // nil: nowhere
	what        string
	done, total int64 // total is negative while it is not known
	began, last time.Time
}

const (
	barEvery = 200 * time.Millisecond
	barWidth = 30
	eraseAll = "\r\x1b[K"
)

func (a *app) bar(what string, total int64) *bar {
	b := &bar{what: inert(what, false), total: total, began: time.Now()}
	if f, ok := a.Err.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			b.w = f
		}
	}
	return b
}

func (b *bar) add(n int) {
	b.done += int64(n)
	if now := time.Now(); b.w != nil && now.Sub(b.last) >= barEvery {
		b.last = now
		_, _ = io.WriteString(b.w, eraseAll+b.line(now))
	}
}

// line is what is shown at a time.
func (b *bar) line(now time.Time) string {
	rate := int64(float64(b.done) / max(now.Sub(b.began).Seconds(), 0.001))
	if b.total <= 0 {
		return fmt.Sprintf("%s  %s  %s/s", b.what, sizeText(b.done), sizeText(rate))
	}
	full := int(barWidth * min(b.done, b.total) / b.total)
	return fmt.Sprintf("%s  [%s%s] %3d%%  %s of %s  %s/s", b.what, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full),
		100*min(b.done, b.total)/b.total, sizeText(b.done), sizeText(b.total), sizeText(rate))
}

// end removes the line.
func (b *bar) end() {
	if b.w != nil && !b.last.IsZero() {
		_, _ = io.WriteString(b.w, eraseAll)
	}
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for ; v >= unit && i < 4; i++ {
		v /= unit
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}
