// Package cron checks cron text: 5 to 7 fields, or a name such as @daily.
package cron

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxText bounds cron text, in bytes.
const MaxText = 200

// cronField is one field of cron text.
type cronField struct {
	name      string
	low, high int
	names     string // of values, in order from low
}

// The five usual fields; seconds may stand before them and years behind.
func cronFields() []cronField {
	return []cronField{
		{"second", 0, 59, ""},
		{"minute", 0, 59, ""},
		{"hour", 0, 23, ""},
		{"day of month", 1, 31, ""},
		{"month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"},
		{"day of week", 0, 7, "SUN MON TUE WED THU FRI SAT"},
		{"year", 1970, 2199, ""},
	}
}

func cronNames() []string {
	return []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
}

// Check says what is wrong with cron text. It has 5 fields (minute, hour, day of month, month, day of week), 6 (with
// seconds in front, or with a year of four digits behind) or 7 (both), or is a name such as @daily. A field is *, ?, or
// a list of numbers, names and ranges with steps; days know L (last), W (nearest workday) and # (n-th of the month).
func Check(text string) error {
	if len(text) > MaxText {
		return fmt.Errorf("it has more than %d characters", MaxText)
	}
	if strings.HasPrefix(text, "@") {
		if !slices.Contains(cronNames(), strings.ToLower(text)) {
			return fmt.Errorf("the name is none of %s", strings.Join(cronNames(), ", "))
		}
		return nil
	}
	given := strings.Fields(text)
	fields := cronFields()
	switch {
	case len(given) == 5:
		fields = fields[1:6]
	case len(given) == 6 && isYears(given[5]):
		fields = fields[1:]
	case len(given) == 6:
		fields = fields[:6]
	case len(given) != 7:
		return fmt.Errorf("it has %d fields", len(given))
	}
	for i := range fields {
		for part := range strings.SplitSeq(strings.ToUpper(given[i]), ",") {
			if err := fields[i].check(part); err != nil {
				return fmt.Errorf("the %s: %w", fields[i].name, err)
			}
		}
	}
	return nil
}

func isYears(text string) bool {
	return len(text) >= 4 && strings.Trim(text[:4], "0123456789") == ""
}

func (f *cronField) check(part string) error {
	if done, err := f.checkDay(part); done {
		return err
	}
	span, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > max(f.high-f.low, 1)+1 || step[0] == '+' {
			return fmt.Errorf("the step %s", shownCron(step))
		}
	}
	if span == "*" || span == "?" && !stepped {
		return nil
	}
	first, last, ranged := strings.Cut(span, "-")
	low, err := f.value(first)
	if err != nil || !ranged {
		return err
	}
	high, err := f.value(last)
	if err == nil && high < low {
		return fmt.Errorf("the range %s runs backwards", shownCron(span))
	}
	return err
}

// checkDay reads what only days know; done is false for what every field has.
func (f *cronField) checkDay(part string) (done bool, err error) {
	switch f.name {
	case "day of month":
		head, isWorkday := strings.CutSuffix(part, "W")
		switch {
		case part == "L", part == "LW":
			return true, nil
		case isWorkday:
			_, err := f.value(head)
			return true, err
		}
	case "day of week":
		head, isLast := strings.CutSuffix(part, "L")
		if isLast {
			if head == "" {
				return true, nil
			}
			_, err := f.value(head)
			return true, err
		}
		if day, nth, ok := strings.Cut(part, "#"); ok {
			if n, err := strconv.Atoi(nth); err != nil || n < 1 || n > 5 || len(nth) != 1 {
				return true, errors.New("after # stands a number from 1 to 5")
			}
			_, err := f.value(day)
			return true, err
		}
	}
	return false, nil
}

func (f *cronField) value(text string) (int, error) {
	if text != "" && (text[0] < '0' || text[0] > '9') {
		if i := slices.Index(strings.Fields(f.names), text); i >= 0 {
			return f.low + i, nil
		}
		return 0, fmt.Errorf("%s is not known", shownCron(text))
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.low || n > f.high || len(text) > 4 {
		return 0, fmt.Errorf("%s is not between %d and %d", shownCron(text), f.low, f.high)
	}
	return n, nil
}

func shownCron(text string) string { return strconv.Quote(text) }
