package ant

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestReachability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beats := 0
		h := &reachability{beat: func() { beats++ }}
		if why := h.unreachable(); why != "" {
			t.Errorf("unreachable before anything was reported: %s", why)
		}
		h.report(errors.New("no connection"))
		time.Sleep(unreachableAfter - time.Second)
		h.report(errors.New("no answer"))
		if why := h.unreachable(); why != "" {
			t.Errorf("unreachable after a moment: %s", why)
		}
		h.report(nil)
		if beats != 0 {
			t.Error("nobody was told that it was unreachable")
		}
		h.report(errors.New("no connection"))
		time.Sleep(unreachableAfter)
		h.report(errors.New("no answer"))
		if why := h.unreachable(); why != "no connection" {
			t.Errorf("it says %q", why)
		}
		h.report(nil)
		if why := h.unreachable(); why != "" || beats != 1 {
			t.Errorf("it is reached again and says %q, after %d beats", why, beats)
		}
	})
}
