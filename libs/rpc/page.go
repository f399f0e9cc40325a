package rpc

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/errs"
)

// pageForm is the first byte of every token: it changes with what follows.
const pageForm = "2"

// PageToken names the place behind which the next page of a list begins. It is opaque, so that nobody builds one by hand.
func PageToken(list, place string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(pageForm + list + "\x00" + place))
}

// PartOf names what of a list a call asks for: the place of a page is one among those that its filters let through.
func PartOf(list string, filters ...any) string {
	return fmt.Sprintf("%s%q", list, filters)
}

// PagePlace returns the place that a token names, "" for the first page. A token of another list is refused: its place
// may look like one of this list.
func PagePlace(list, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	place, ours := strings.CutPrefix(string(raw), pageForm+list+"\x00")
	if err != nil || !ours || place == "" {
		return "", BadPageToken()
	}
	return place, nil
}

// BadPageToken refuses a token.
func BadPageToken() error {
	return errs.Invalid("PAGE_TOKEN_INVALID", "page_token is not one that this list gave for the same filters; leave it out to begin with the first page")
}
