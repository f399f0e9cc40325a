// Package value holds the values of variables: their kinds, how they are compared, measured and written as text.
package value

import (
	"encoding/json"
	"maps"
	"math"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/storable"
)

// Vars are the values that templates see, by name: text, bool, int64, float64, nil, and lists and maps of those; a number
// that neither int64 nor float64 holds with all its digits is a json.Number. Values of other Go types that JSON decoding or
// a caller's literals produce (int, []string …) count as the nearest of these.
type Vars map[string]any

// Canon returns v as one of the kinds that Vars lists; ok is false when it is of no such kind.
func Canon(v any) (out any, ok bool) {
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
		return List(v), true
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

// List returns the items as a list of any.
func List[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// DeepCanon is canon for lists and maps too, down to maxDepth levels.
func DeepCanon(v any, depth int) (any, bool) {
	v, ok := Canon(v)
	if !ok || depth > source.MaxDepth {
		return nil, false
	}
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			if out[i], ok = DeepCanon(item, depth+1); !ok {
				return nil, false
			}
		}
		return out, true
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			if out[k], ok = DeepCanon(item, depth+1); !ok {
				return nil, false
			}
		}
		return out, true
	}
	return v, true
}

// Text formats a value as it appears inside a longer text, in environments and in forms: lists and maps as JSON.
func Text(v any) string {
	v, _ = Canon(v)
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
		return JSON(v)
	}
}

// JSON formats a value as JSON.
func JSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil { // NaN and infinities only
		return ""
	}
	return string(raw)
}

// Same compares values; numbers are equal whatever their Go type.
func Same(a, b any) bool {
	a, _ = Canon(a)
	b, _ = Canon(b)
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
			if !Same(x[i], y[i]) {
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
			if !ok || !Same(x[k], other) {
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

// Storable reports whether the texts of a value are UTF-8 without NUL: neither a database nor a process takes others.
func Storable(v any) bool {
	switch v := v.(type) {
	case string:
		return storable.Is(v)
	case []any:
		return !slices.ContainsFunc(v, func(item any) bool { return !Storable(item) })
	case map[string]any:
		for k, item := range v {
			if !Storable(k) || !Storable(item) {
				return false
			}
		}
	}
	return true
}

// Size estimates the bytes of a value's JSON. It stops counting soon after limit.
func Size(v any, limit int) int {
	v, _ = Canon(v)
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
			n += 1 + Size(item, limit-n)
		}
		return n
	case map[string]any:
		n := 2
		for k, item := range v {
			if n > limit {
				break
			}
			n += len(k) + 4 + Size(item, limit-n)
		}
		return n
	}
	return 8
}

// SortedKeys returns the keys of a map in order.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// Merged returns the maps laid over each other, later ones on top.
func Merged(layers ...Vars) Vars {
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

// ValidURL says that the text is an address of HTTP.
func ValidURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// ValidName says that a variable can have the name.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == '=' || c == 0x7F || c == source.TokenOpen })
}

// MaxName bounds names, in bytes.
const MaxName = 100

// IsEnvName says that a shell can have a variable of the name.
func IsEnvName(name string) bool {
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
