package login

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestHashes(t *testing.T) {
	h := NewHasher(2, DefaultConfig().HashMemory)
	hash, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatal(hash, err)
	}
	again, _ := h.Hash(t.Context(), "correct horse battery")
	if again == hash {
		t.Error("the salt is the same")
	}
	for password, want := range map[string]bool{"correct horse battery": true, "correct horse batterz": false, "": false} {
		if ok, err := h.Matches(t.Context(), password, hash); ok != want || err != nil {
			t.Error(password, ok, err)
		}
	}
	if ok, err := h.Matches(t.Context(), "", ""); ok || err != nil {
		t.Error("nothing matches no password:", ok, err)
	}
	for _, bad := range []string{"x", "$argon2i$v=19$m=64,t=2,p=1$AAAA$AAAA", "$argon2id$v=19$m=64,t=0,p=1$AAAA$AAAA", "$argon2id$v=19$m=64,t=2,p=1$AAAA$AAAA", "$argon2id$v=16$m=64,t=2,p=1$AAAA$" + strings.Repeat("A", 43)} {
		if ok, err := h.Matches(t.Context(), "x", bad); ok || err == nil {
			t.Error(bad, ok, err)
		}
	}
}

// TestNobodyCostsAsMuchAsSomebody: what is computed for users without a password has the same cost.
func TestNobodyCostsAsMuchAsSomebody(t *testing.T) {
	h := NewHasher(1, 64)
	hash, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	real, err := decode(hash)
	if err != nil {
		t.Fatal(err)
	}
	dummy, err := decode(h.dummy)
	if err != nil || real.time != dummy.time || real.memory != dummy.memory || real.threads != dummy.threads || len(real.salt) != len(dummy.salt) {
		t.Error(real, dummy, err)
	}
}

func TestHashesAreFewAtOnce(t *testing.T) {
	h := NewHasher(1, 64)
	h.turn <- struct{}{} // somebody else's
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Hash(ctx, "correct horse battery"); err == nil {
		t.Error("a second hash was computed at once")
	}
}

func TestWaits(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 0, 5: 0, 6: time.Second, 7: 2 * time.Second, 10: 16 * time.Second, 14: 256 * time.Second, 15: 5 * time.Minute, 1 << 30: 5 * time.Minute} {
		if got := perAccount.wait(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}

func TestUserCodes(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		code := newUserCode()
		if len(code) != 9 || code[4] != '-' || strings.Trim(code, letters+"-") != "" || seen[code] {
			t.Fatal(code)
		}
		seen[code] = true
	}
}
