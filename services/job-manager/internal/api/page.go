package api

import (
	"encoding/base64"

	"github.com/formicary/formicary/libs/errs"
)

const defaultPage = 50

func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPage
	}
	return int(asked)
}

// page cuts a list that was read one longer than the page, and returns the last item that stays.
func page[T any](list []T, size int) (kept []T, last T, more bool) {
	if len(list) <= size {
		return list, last, false
	}
	return list[:size], list[size-1], true
}

// writeToken hides a key, so that nobody builds tokens by hand.
func writeToken(key string) string { return base64.RawURLEncoding.EncodeToString([]byte("1" + key)) }

// readToken returns the key of a token, "" for the first page.
func readToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	key, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(key) < 2 || key[0] != '1' {
		return "", badToken()
	}
	return string(key[1:]), nil
}

func badToken() error {
	return errs.Invalid("PAGE_TOKEN_INVALID", "the page token was not made by this list")
}
