package jobspec

import (
	"encoding/json"
	"maps"
	"math"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/formicary/formicary/libs/exact"
)

// Vars are the values that templates see, by name: text, bool, int64, float64, nil, and lists and maps of those; a number
// that neither int64 nor float64 holds with all its digits is a json.Number. Values of other Go types that JSON decoding or
// a caller's literals produce (int, []string …) count as the nearest of these.
type Vars map[string]any

// canon returns v as one of the kinds that Vars lists; ok is false when it is of no such kind.
func canon(v any) (out any, ok bool) {
	switch v := v.(type) {
	case nil, string, bool, int64, float64, []any, map[string]any:
		return v, true
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case uint:
		return canonUint(uint64(v)), true
	case uint64:
		return canonUint(v), true
	case float32:
		return float64(v), true
	case json.Number:
		return exact.Number(v)
	case Vars:
		return map[string]any(v), true
	case []string:
		return anyList(v), true
	case map[string]string:
		m := make(map[string]any, len(v))
		for k, s := range v {
			m[k] = s
		}
		return m, true
	}
	return nil, false
}

func canonUint(u uint64) any {
	if u > math.MaxInt64 {
		return json.Number(strconv.FormatUint(u, 10))
	}
	return int64(u)
}

func anyList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// deepCanon is canon for lists and maps too, down to maxDepth levels.
func deepCanon(v any, depth int) (any, bool) {
	v, ok := canon(v)
	if !ok || depth > maxDepth {
		return nil, false
	}
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			if out[i], ok = deepCanon(item, depth+1); !ok {
				return nil, false
			}
		}
		return out, true
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			if out[k], ok = deepCanon(item, depth+1); !ok {
				return nil, false
			}
		}
		return out, true
	}
	return v, true
}

// textOf formats a value as it appears inside a longer text, in environments and in forms: lists and maps as JSON.
func textOf(v any) string {
	v, _ = canon(v)
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return exact.Float(v)
	case json.Number:
		return v.String()
	default:
		return jsonOf(v)
	}
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil { // NaN and infinities only
		return ""
	}
	return string(raw)
}

// sameValue compares values; numbers are equal whatever their Go type.
func sameValue(a, b any) bool {
	a, _ = canon(a)
	b, _ = canon(b)
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		return ok && x == y
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case int64:
		switch y := b.(type) {
		case int64:
			return x == y
		case float64:
			return sameNumber(x, y)
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return sameNumber(y, x)
		case float64:
			return x == y
		}
	case json.Number: // no int64 and no float64 is the same
		y, ok := b.(json.Number)
		return ok && exact.Same(x, y)
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameValue(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k := range x {
			other, ok := y[k]
			if !ok || !sameValue(x[k], other) {
				return false
			}
		}
		return true
	}
	return false
}

// sameNumber compares without rounding.
func sameNumber(i int64, f float64) bool {
	return float64(i) == f && (f < math.MaxInt64 && int64(f) == i)
}

// storable reports whether the texts of a value are UTF-8 without NUL: neither a database nor a process takes others.
func storable(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.IndexByte(v, 0) < 0 && utf8.ValidString(v)
	case []any:
		return !slices.ContainsFunc(v, func(item any) bool { return !storable(item) })
	case map[string]any:
		for k, item := range v {
			if !storable(k) || !storable(item) {
				return false
			}
		}
	}
	return true
}

// sizeOf estimates the bytes of a value's JSON. It stops counting soon after limit.
func sizeOf(v any, limit int) int {
	v, _ = canon(v)
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case json.Number:
		return len(v)
	case []any:
		n := 2
		for _, item := range v {
			if n > limit {
				break
			}
			n += 1 + sizeOf(item, limit-n)
		}
		return n
	case map[string]any:
		n := 2
		for k, item := range v {
			if n > limit {
				break
			}
			n += len(k) + 4 + sizeOf(item, limit-n)
		}
		return n
	}
	return 8
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// merged returns the maps laid over each other, later ones on top.
func merged(layers ...Vars) Vars {
	n := 0
	for _, l := range layers {
		n += len(l)
	}
	out := make(Vars, n)
	for _, l := range layers {
		maps.Copy(out, l)
	}
	return out
}

// validURL says that the text is an address of HTTP.
func validURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// validName says that a variable can have the name.
func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == '=' || c == 0x7F || c == tokenOpen })
}

// maxName bounds names, in bytes.
const maxName = 100

// isEnvName says that a shell can have a variable of the name.
func isEnvName(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// UnmarshalJSON implements json.Unmarshaler: numbers keep their digits.
func (v *Vars) UnmarshalJSON(raw []byte) error {
	m, err := exact.DecodeObject(raw)
	*v = m
	return err //nolint:wrapcheck // it says what it did
}
