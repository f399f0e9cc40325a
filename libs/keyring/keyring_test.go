package keyring_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/formicary/formicary/libs/keyring"
)

var place = keyring.Place{Org: "acme", Scope: "job/build", Name: "TOKEN", Version: 3}

func ring(t testing.TB) *keyring.File {
	t.Helper()
	f, err := keyring.Ensure(filepath.Join(t.TempDir(), "ring.json"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func seal(t testing.TB, f *keyring.File, text string) keyring.Sealed {
	t.Helper()
	s, err := keyring.Seal(t.Context(), f, place, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedValueOpensAtItsPlaceOnly(t *testing.T) {
	f := ring(t)
	s := seal(t, f, "canary-value")
	if bytes.Contains(s.Value, []byte("canary")) || bytes.Contains(s.DataKey, []byte("canary")) {
		t.Fatal("the value is in clear")
	}
	if got, err := keyring.Open(t.Context(), f, place, s); err != nil || string(got) != "canary-value" {
		t.Fatalf("%q, %v", got, err)
	}
	for name, other := range map[string]keyring.Place{
		"organisation": {Org: "evil", Scope: "job/build", Name: "TOKEN", Version: 3},
		"scope":        {Org: "acme", Scope: "job/other", Name: "TOKEN", Version: 3},
		"name":         {Org: "acme", Scope: "job/build", Name: "TOKEM", Version: 3},
		"version":      {Org: "acme", Scope: "job/build", Name: "TOKEN", Version: 2},
		"borders":      {Org: "acmejob", Scope: "/build", Name: "TOKEN", Version: 3},
	} {
		if got, err := keyring.Open(t.Context(), f, other, s); !errors.Is(err, keyring.ErrForeign) {
			t.Errorf("another %s: %q, %v", name, got, err)
		}
		if _, err := keyring.Rewrap(t.Context(), f, other, s); !errors.Is(err, keyring.ErrForeign) {
			t.Errorf("another %s: rewrapped, %v", name, err)
		}
	}
	second := seal(t, f, "canary-value")
	if bytes.Equal(s.Value, second.Value) || bytes.Equal(s.DataKey, second.DataKey) {
		t.Error("equal values look equal")
	}
	mixed := keyring.Sealed{KeyID: s.KeyID, DataKey: second.DataKey, Value: s.Value}
	if _, err := keyring.Open(t.Context(), f, place, mixed); !errors.Is(err, keyring.ErrForeign) {
		t.Errorf("the data key of another value: %v", err)
	}
}

func TestShortAndChangedInputIsRefused(t *testing.T) {
	f := ring(t)
	s := seal(t, f, "canary-value")
	for _, part := range []func(*keyring.Sealed) *[]byte{
		func(s *keyring.Sealed) *[]byte { return &s.DataKey }, func(s *keyring.Sealed) *[]byte { return &s.Value },
	} {
		whole := *part(&s)
		for n := range len(whole) {
			cut, flipped := s, s
			*part(&cut) = whole[:n]
			*part(&flipped) = bytes.Clone(whole)
			(*part(&flipped))[n] ^= 1
			for _, bad := range []keyring.Sealed{cut, flipped} {
				if _, err := keyring.Open(t.Context(), f, place, bad); !errors.Is(err, keyring.ErrForeign) {
					t.Fatalf("byte %d: %v", n, err)
				}
			}
		}
	}
	for _, empty := range []keyring.Sealed{{}, {KeyID: "no"}, {KeyID: f.Primary()}} {
		if _, err := keyring.Open(t.Context(), f, place, empty); err == nil {
			t.Errorf("%v was opened", empty)
		}
	}
}

func TestRotationKeepsWhatOtherKeysHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.json")
	f, err := keyring.Ensure(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keyring.OpenFile(path) // of another replica
	if err != nil {
		t.Fatal(err)
	}
	old, digest := seal(t, f, "canary-value"), f.Digest([]byte("x"))
	if err := f.Rotate(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(digest, f.Digest([]byte("x"))) || f.Primary() == old.KeyID || len(f.IDs()) != 2 {
		t.Errorf("digests change, or the key does not: %v", f.IDs())
	}
	fresh, err := keyring.Rewrap(t.Context(), f, place, old)
	if err != nil || fresh.KeyID != f.Primary() || !bytes.Equal(fresh.Value, old.Value) {
		t.Fatalf("%v, %v", fresh.KeyID, err)
	}
	for _, s := range []keyring.Sealed{old, fresh} {
		if got, err := keyring.Open(t.Context(), other, place, s); err != nil || string(got) != "canary-value" {
			t.Errorf("%q, %v", got, err)
		}
	}
	claimed := fresh
	claimed.KeyID = old.KeyID // the id is authenticated, too
	if _, err := keyring.Open(t.Context(), f, place, claimed); !errors.Is(err, keyring.ErrForeign) {
		t.Errorf("%v", err)
	}
	gone := ring(t)
	if _, err := keyring.Open(t.Context(), gone, place, old); !errors.Is(err, keyring.ErrNoKey) {
		t.Errorf("a ring without the key: %v", err)
	}
}

func TestRotationsAtOnceLoseNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.json")
	if _, err := keyring.Ensure(path); err != nil {
		t.Fatal(err)
	}
	const n = 8
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			f, err := keyring.Ensure(path)
			if err == nil {
				err = f.Rotate()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := keyring.OpenFile(path)
	if err != nil || len(f.IDs()) != n+1 {
		t.Errorf("%d keys, %v", len(f.IDs()), err)
	}
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.json")
	if _, err := keyring.Ensure(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o601, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Ensure(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%o: %v", mode, err)
		}
	}
	if _, err := keyring.OpenFile(filepath.Dir(path)); err == nil {
		t.Error("a directory is taken for a ring")
	}
}

func TestBrokenRingIsRefusedAndNotQuoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.json")
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for name, text := range map[string]string{
		"empty": "", "no object": `"` + key + `"`, "no base64": `{"primary":"a","digest":"canary!","keys":{}}`,
		"short key":       fmt.Sprintf(`{"primary":"a","digest":%q,"keys":{"a":"Y2FuYXJ5"}}`, key),
		"short digest":    fmt.Sprintf(`{"primary":"a","digest":"Y2FuYXJ5","keys":{"a":%q}}`, key),
		"primary missing": fmt.Sprintf(`{"primary":"b","digest":%q,"keys":{"a":%q}}`, key, key),
		"nameless":        fmt.Sprintf(`{"primary":"","digest":%q,"keys":{"":%q}}`, key, key),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := keyring.Inspect(path)
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2Fu") || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := keyring.Inspect(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	r := ring(f)
	s := seal(f, r, "canary-value")
	f.Add(s.KeyID, s.DataKey, s.Value)
	f.Add("", []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, id string, dataKey, value []byte) {
		got, err := keyring.Open(t.Context(), r, place, keyring.Sealed{KeyID: id, DataKey: dataKey, Value: value})
		same := id == s.KeyID && bytes.Equal(dataKey, s.DataKey) && bytes.Equal(value, s.Value)
		if (err == nil) != same || same && string(got) != "canary-value" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestNothingPrintsKeys(t *testing.T) {
	f := ring(t)
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		if got := fmt.Sprintf(format, f); !strings.HasPrefix(got, "key ring ") || strings.Contains(got, "map[") {
			t.Errorf("%s: %s", format, got)
		}
	}
}
