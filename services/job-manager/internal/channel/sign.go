package channel

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Webhooks are signed as Standard Webhooks 1.0 says (standardwebhooks.com): the id, which is the same whenever a delivery is
// sent again, the time of the attempt and the body, by each of the keys. While a key is replaced there are two of them, and
// a receiver that knows either is satisfied.
const (
	headerID        = "Webhook-Id"
	headerTime      = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

const (
	keyPrefix   = "whsec_"
	shortestKey = 24 // bytes
	longestKey  = 64
	mostKeys    = 4
)

// keys reads the signing keys that a text names, separated by spaces or commas.
func (s Secret) keys() (keys [][]byte, err error) {
	for text := range strings.FieldsFuncSeq(string(s), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		encoded, ok := strings.CutPrefix(text, keyPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < shortestKey || len(key) > longestKey {
			return nil, errors.New("want " + keyPrefix + " and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)")
		}
		keys = append(keys, key)
	}
	if len(keys) > mostKeys {
		return nil, errors.New("want at most 4 keys: the new one, and the old one until all receivers know the new one")
	}
	return keys, nil
}

// sign adds the headers of a message. Without keys it has no signature.
func sign(h http.Header, id string, at time.Time, body []byte, keys [][]byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	var signatures []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(id + "." + stamp + "."))
		_, _ = mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	h.Set(headerID, id)
	h.Set(headerTime, stamp)
	h.Del(headerSignature)
	if len(signatures) > 0 {
		h.Set(headerSignature, strings.Join(signatures, " "))
	}
}
