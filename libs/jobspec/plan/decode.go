package plan

import (
	"encoding/json"
	"errors"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// What holds values of any kind reads them so that numbers keep their digits.

// UnmarshalJSON implements json.Unmarshaler.
func (s *Spec) UnmarshalJSON(raw []byte) error {
	type bare Spec
	out := struct {
		*bare

		Variables value.Vars `json:"variables"`
	}{bare: (*bare)(s)}
	err := json.Unmarshal(raw, &out)
	s.Variables = out.Variables
	return err //nolint:wrapcheck // it says what it did
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Fork) UnmarshalJSON(raw []byte) error {
	type bare Fork
	out := struct {
		*bare

		Params value.Vars `json:"params"`
	}{bare: (*bare)(f)}
	err := json.Unmarshal(raw, &out)
	f.Params = out.Params
	return err //nolint:wrapcheck // it says what it did
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *FanOut) UnmarshalJSON(raw []byte) error {
	type bare FanOut
	out := struct {
		*bare

		Items values `json:"items"`
	}{bare: (*bare)(f)}
	err := json.Unmarshal(raw, &out)
	f.Items = out.Items
	return err //nolint:wrapcheck // it says what it did
}

type values []any

// UnmarshalJSON implements json.Unmarshaler.
func (v *values) UnmarshalJSON(raw []byte) error {
	decoded, err := exact.Decode(raw)
	if err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	list, ok := decoded.([]any)
	if !ok && decoded != nil {
		return errors.New("read values: they are no list")
	}
	*v = list
	return nil
}
