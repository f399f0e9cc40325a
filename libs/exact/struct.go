package exact

import (
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/types/known/structpb"
)

// Struct encodes m. text is its JSON when the message cannot say it, else empty.
func Struct(m map[string]any) (s *structpb.Struct, text string, err error) {
	if s, err = structpb.NewStruct(m); err == nil && fits(m) {
		return s, "", nil
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, "", fmt.Errorf("encode values: %w", err)
	}
	s = &structpb.Struct{}
	if err := s.UnmarshalJSON(raw); err != nil {
		return nil, "", fmt.Errorf("encode values: %w", err)
	}
	if !fits(m) {
		text = string(raw)
	}
	return s, text, nil
}

// Value is Struct for any value.
func Value(v any) (s *structpb.Value, text string, err error) {
	m := map[string]any{"v": v}
	all, text, err := Struct(m)
	if err != nil || text == "" {
		return all.GetFields()["v"], "", err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, "", fmt.Errorf("encode a value: %w", err)
	}
	return all.GetFields()["v"], string(raw), nil
}

// Map decodes what Struct gives.
func Map(s *structpb.Struct, text string) (map[string]any, error) {
	if text != "" {
		return DecodeObject([]byte(text))
	}
	if s == nil {
		return nil, nil
	}
	return s.AsMap(), nil
}

// largest is up to where every whole number is a float64.
const largest = 1 << 53

// fits reports whether float64 holds every number of a value.
func fits(v any) bool {
	switch v := v.(type) {
	case int64:
		return v >= -largest && v <= largest
	case int:
		return fits(int64(v))
	case uint64:
		return v <= largest
	case uint:
		return fits(uint64(v))
	case json.Number:
		n, ok := Number(v)
		switch n := n.(type) {
		case int64:
			return fits(n)
		case float64:
			return true
		}
		return !ok
	case float64:
		return !math.IsNaN(v)
	case []any:
		for _, item := range v {
			if !fits(item) {
				return false
			}
		}
	case map[string]any:
		for _, item := range v {
			if !fits(item) {
				return false
			}
		}
	}
	return true
}
