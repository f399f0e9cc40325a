package ant

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestHearing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beats := 0
		h := &hearing{beat: func() { beats++ }}
		if why := h.deaf(); why != "" {
			t.Errorf("deaf before it listens: %s", why)
		}
		h.listening(errors.New("no connection"))
		time.Sleep(deafAfter - time.Second)
		h.listening(errors.New("no answer"))
		if why := h.deaf(); why != "" {
			t.Errorf("deaf after a moment: %s", why)
		}
		h.listening(nil)
		if beats != 0 {
			t.Error("nobody was told that it was deaf")
		}
		h.listening(errors.New("no connection"))
		time.Sleep(deafAfter)
		h.listening(errors.New("no answer"))
		if why := h.deaf(); why != "no connection" {
			t.Errorf("it says %q", why)
		}
		h.listening(nil)
		if why := h.deaf(); why != "" || beats != 1 {
			t.Errorf("it hears again and says %q, after %d beats", why, beats)
		}
	})
}
