package channel

import (
	"io"
	"net/http"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

const (
	oldKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newKey = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDbGVnPWxlbmd0aA=="
)

func receiver(t *testing.T, key string) *standardwebhooks.Webhook {
	t.Helper()
	w, err := standardwebhooks.NewWebhook(key)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestReceiversVerifyWebhooks asks the library of the standard, also in the middle of a change of keys.
func TestReceiversVerifyWebhooks(t *testing.T) {
	var header http.Header
	var body []byte
	code := http.StatusServiceUnavailable
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(code)
	})
	d := delivery("webhook", s.URL)
	d.Target.Headers = map[string]string{"Webhook-Signature": "v1,forged", "webhook-id": "another", "WEBHOOK-TIMESTAMP": "1"}
	for keys, known := range map[Secret][]string{oldKey: {oldKey}, newKey + ", " + oldKey: {oldKey, newKey}, newKey: {newKey}, "": nil} {
		conf := open()
		conf.SigningKeys = keys
		c := channels(t, conf)
		var ids []string
		for _, code = range []int{http.StatusServiceUnavailable, http.StatusOK} { // sent again
			if err := c.Send(t.Context(), d); (err != nil) != (code != http.StatusOK) {
				t.Fatal(err)
			}
			ids = append(ids, header.Get("webhook-id"))
			for _, key := range []string{oldKey, newKey} {
				want := strings.Contains(strings.Join(known, " "), key)
				if err := receiver(t, key).Verify(body, header); (err == nil) != want {
					t.Errorf("signed by %d keys: verified is %v, want %v: %v", len(known), err == nil, want, err)
				}
			}
		}
		if ids[0] != d.ID.String() || ids[1] != ids[0] {
			t.Errorf("the ids of two attempts are %v", ids)
		}
		for name, change := range map[string]func(http.Header, []byte) []byte{
			"body": func(_ http.Header, b []byte) []byte { return append(b, ' ') },
			"id":   func(h http.Header, b []byte) []byte { h.Set("webhook-id", "x"); return b },
			"time": func(h http.Header, b []byte) []byte { h.Set("webhook-timestamp", "1"); return b },
		} {
			h := header.Clone()
			if err := receiver(t, newKey).Verify(change(h, body), h); err == nil {
				t.Errorf("another %s is verified", name)
			}
		}
		if strings.Contains(header.Get("webhook-signature"), "forged") {
			t.Error("the headers of a job sign for the colony")
		}
	}
}

func TestSigningKeys(t *testing.T) {
	for keys, want := range map[Secret]int{"": 0, oldKey: 1, "\n" + oldKey + "," + newKey + " ": 2} {
		if got, err := keys.keys(); err != nil || len(got) != want {
			t.Errorf("%d keys, want %d: %v", len(got), want, err)
		}
	}
	for _, keys := range []Secret{"x", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", oldKey + " x", "whsec_" + Secret(strings.Repeat("AAAA", 22)), Secret(strings.Repeat(oldKey+" ", 5))} {
		conf := DefaultConfig()
		conf.SigningKeys = keys
		err := conf.Validate()
		if err == nil || !strings.Contains(err.Error(), "FORMICARY_WEBHOOK_KEYS") || strings.Contains(err.Error(), "MfKQ") {
			t.Errorf("%q: %v", string(keys), err)
		}
		if err := channels(t, conf).Send(t.Context(), delivery("webhook", "http://127.0.0.1:1")); !notify.Refused(err) {
			t.Errorf("%q: sent without a signature: %v", string(keys), err)
		}
	}
}
