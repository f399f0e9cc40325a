package rpc_test

import (
	"encoding/base64"
	"testing"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

func TestPageTokensBelongToTheirList(t *testing.T) {
	for _, place := range []string{"a", "a\x00b", "7"} {
		token := rpc.PageToken("ants", place)
		if got, err := rpc.PagePlace("ants", token); err != nil || got != place {
			t.Errorf("%q comes back as %q, %v", place, got, err)
		}
		for _, list := range []string{"ant", "ants/a", "requests", ""} {
			if got, err := rpc.PagePlace(list, token); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
				t.Errorf("list %q takes it as %q, %v", list, got, err)
			}
		}
	}
	if got, err := rpc.PagePlace("ants", ""); err != nil || got != "" {
		t.Errorf("the first page begins at %q, %v", got, err)
	}
	part := rpc.PartOf("jobs", "j", []string{"A", "B"})
	for _, other := range []string{"jobs", rpc.PartOf("jobs", "j", []string(nil)), rpc.PartOf("jobs", "k", []string{"A", "B"}), rpc.PartOf("jobs", "j", []string{"A B"})} {
		if _, err := rpc.PagePlace(other, rpc.PageToken(part, "a")); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
			t.Errorf("%q takes a token of %q: %v", other, part, err)
		}
	}
	for _, bad := range []string{"!", "a", base64.RawURLEncoding.EncodeToString([]byte("1ants\x00a")), rpc.PageToken("ants", "")} {
		if _, err := rpc.PagePlace("ants", bad); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
