// Package exact carries values of JSON through Go and protobuf without a change of their digits.
//
// A number is an int64 or a float64 where one of these says the same, and else a json.Number: the digits as they were
// written. What no float64 can come near (1e400) is no number here. In protobuf, where a number of google.protobuf.Struct
// is a float64, a field x of that type has a text x_json beside it: the same as JSON, set where x cannot say it.
package exact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Number returns n as an int64, a float64 or, where these would change it, as itself. ok is false for what is no number
// of JSON, or outside of what a float64 can hold.
func Number(n json.Number) (v any, ok bool) {
	text := n.String()
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		return i, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > maxDigits || !json.Valid([]byte(text)) {
		return nil, false
	}
	given, held := decimalOf(text), decimalOf(Float(f))
	switch {
	case given == held:
		return f, true
	case f == 0: // too small to be told from nothing
		return nil, false
	}
	return n, true
}

// maxDigits bounds the text of a number.
const maxDigits = 1000

// Float writes a number as JSON does: 1e21 and above, and below 1e-6, with an exponent.
func Float(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strings.Replace(strconv.FormatFloat(f, 'e', -1, 64), "e-0", "e-", 1)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// Int returns the whole number that n is; ok is false when it has a fraction or is too large.
func Int(n json.Number) (i int64, ok bool) {
	d := decimalOf(n.String())
	if d.exponent < 0 || d.exponent > 18 || len(d.digits)+d.exponent > 19 {
		return 0, false
	}
	i, err := strconv.ParseInt(d.sign+d.digits+strings.Repeat("0", d.exponent), 10, 64)
	return i, err == nil
}

// Same reports whether two numbers of JSON are equal.
func Same(a, b json.Number) bool { return decimalOf(a.String()) == decimalOf(b.String()) }

// decimal is a number without what can be written in several ways: digits × 10^exponent, the digits without zeros at
// either end. Nothing is "0".
type decimal struct {
	sign, digits string
	exponent     int
}

func decimalOf(text string) decimal {
	d := decimal{}
	text, negative := strings.CutPrefix(text, "-")
	mantissa, power := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, power = text[:i], text[i+1:]
	}
	d.exponent, _ = strconv.Atoi(power)
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.digits = strings.TrimLeft(whole+fraction, "0")
	d.exponent -= len(fraction)
	short := strings.TrimRight(d.digits, "0")
	d.exponent += len(d.digits) - len(short)
	if d.digits = short; short == "" {
		return decimal{digits: "0"}
	}
	if negative {
		d.sign = "-"
	}
	return d
}

// Decode reads one JSON value with numbers as Number gives them. What Number refuses stays as it was written: see InRange.
func Decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read JSON: something follows it")
	}
	return numbers(v), nil
}

// DecodeObject reads a JSON object as Decode does. null is nil.
func DecodeObject(raw []byte) (map[string]any, error) {
	v, err := Decode(raw)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		return nil, errors.New("read JSON: it is no object")
	}
	return m, nil
}

// numbers replaces the numbers of a value that was just read.
func numbers(v any) any {
	return leaves(v, func(v any) any {
		if x, ok := v.(json.Number); ok {
			if n, ok := Number(x); ok {
				return n
			}
		}
		return v
	})
}

// Floats gives the whole numbers of a value that Decode has read as float64, as readers of JSON expect them, or as
// json.Number where a float64 would change them. It works in place.
func Floats(v any) any {
	return leaves(v, func(v any) any {
		switch n, whole := v.(int64); {
		case !whole:
			return v
		case fits(n):
			return float64(n)
		default:
			return json.Number(strconv.FormatInt(n, 10))
		}
	})
}

// leaves replaces what is no list and no mapping, in place.
func leaves(v any, replace func(any) any) any {
	switch x := v.(type) {
	case []any:
		for i := range x {
			x[i] = leaves(x[i], replace)
		}
		return x
	case map[string]any:
		for k := range x {
			x[k] = leaves(x[k], replace)
		}
		return x
	}
	return replace(v)
}

// InRange reports whether Number takes all numbers of a value that Decode has read.
func InRange(v any) bool {
	switch x := v.(type) {
	case json.Number:
		_, ok := Number(x)
		return ok
	case []any:
		for _, item := range x {
			if !InRange(item) {
				return false
			}
		}
	case map[string]any:
		for _, item := range x {
			if !InRange(item) {
				return false
			}
		}
	}
	return true
}
