package definition

import (
	"testing"

	"github.com/formicary/formicary/libs/errs"
)

func TestChoose(t *testing.T) {
	names := []VersionName{
		{Version: 1, SemVersion: "1.0.0"},
		{Version: 2, SemVersion: "1.4.2"},
		{Version: 3, SemVersion: "1.3.9"},
		{Version: 4, SemVersion: "2.0-rc1"},
		{Version: 5, SemVersion: "1.5.0-dev"},
		{Version: 6},
		{Version: 7, SemVersion: "1.3"},
		{Version: 8, SemVersion: "0.9.0"},
		{Version: 9, SemVersion: "release-x"},
		{Version: 10, SemVersion: "0.9.0"},
		{Version: 11, SemVersion: "1.5.0-dev"},
	}
	for wanted, want := range map[string]struct {
		version int
		ranged  bool
	}{
		"6": {6, false}, "1.4.2": {2, true}, "v1.4.2": {2, true}, "1.3": {7, true}, "1.3.0": {7, true}, "release-x": {9, true},
		"1.5.0-dev": {11, true}, "=1.5.0-dev": {11, true}, "2.0.0-rc1": {4, true}, "1.0": {1, true}, "0.9.0": {10, true},
		"^1.2": {2, true}, "~1.3": {3, true}, ">=1 <2": {2, true}, ">=1, <1.4": {3, true}, "1.x": {2, true}, "*": {2, true}, "<1": {10, true},
		">=1.5.0-0": {4, true}, "^1.5.0-0": {11, true}, "0.x || ~1.0.0": {1, true},
		"99": {}, "0": {}, "-1": {}, "^3": {}, "9.9.9": {}, ">=2": {}, "nonsense": {}, "": {}, "99999999999999999999": {},
	} {
		got, ranged, err := choose("j", names, wanted)
		if want.version == 0 && wanted != "" {
			if errs.Reason(err) != "VERSION_NOT_FOUND" {
				t.Errorf("%q: version %d, %v", wanted, got.Version, err)
			}
			continue
		}
		if wanted != "" && (err != nil || got.Version != want.version || ranged != want.ranged) {
			t.Errorf("%q: version %d, ranged %v, %v; want %+v", wanted, got.Version, ranged, err, want)
		}
	}
}
