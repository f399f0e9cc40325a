package sso

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// FlightTime is how long somebody may take at a provider.
const FlightTime = 10 * time.Minute

// flight is a login that is under way: what the browser that began it keeps.
type flight struct {
	Provider, State, Nonce, Verifier, Back, To, Invitation string
	Until                                                  int64 // Unix time
}

// Local says whether a path leads back to this server and nowhere else.
func Local(to string) bool {
	u, err := url.Parse(to)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") &&
		!strings.ContainsFunc(to, func(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f }) && len(to) <= longest
}

// longest is how many bytes a path has that a login ends with.
const longest = 1500

// sign encodes a flight so that nobody else can make one.
func (l *Logins) sign(ctx context.Context, f flight) (string, error) {
	key, err := l.o.Key(ctx)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("encode a login: %w", err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return b64(raw) + "." + b64(mac(key, raw)), nil
}

// read decodes a flight of this gateway or a replica of it.
func (l *Logins) read(ctx context.Context, text string) (f flight, err error) {
	key, err := l.o.Key(ctx)
	if err != nil {
		return f, err
	}
	body, sum, _ := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	have, err2 := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || err2 != nil || !hmac.Equal(have, mac(key, raw)) {
		return f, stale()
	}
	if err := json.Unmarshal(raw, &f); err != nil || l.o.Now().Unix() >= f.Until {
		return f, stale()
	}
	return f, nil
}

func mac(key, raw []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(raw) // never fails
	return h.Sum(nil)
}
