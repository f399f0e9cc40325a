package cron_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/cron"
)

func TestCron(t *testing.T) {
	for _, text := range []string{
		"* * * * *", "0 6 * * 1-5", "*/15 0-8,20-23 1,15 * *", "0 0/30 * * * * *", "0 0 12 ? * MON-FRI 2030-2040", "0 0 1 1 * 2030",
		"30 4 L * *", "30 4 LW * ?", "0 9 15W * *", "0 9 ? * 5L", "0 9 ? * MON#2", "0 9 * jan-Mar sun,7", "59 59 23 31 12 7 2199",
		"@daily", "@Hourly", "@midnight", "@yearly", "  5\t4  * * *  ", "10-20/5 * * * *", "0/5 * * * *",
	} {
		if err := cron.Check(strings.TrimSpace(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"":                                      "0 fields",
		"* * * *":                               "4 fields",
		"* * * * * * * *":                       "8 fields",
		"60 * * * *":                            `the minute: "60" is not between 0 and 59`,
		"* 24 * * *":                            "the hour",
		"* * 0 * *":                             "the day of month",
		"* * * 13 *":                            "the month",
		"* * * * 8":                             "the day of week",
		"0 0 0 1 1 ? 1969":                      "the year",
		"60 * * * * *":                          "the second",
		"*/0 * * * *":                           "the step",
		"*/61 * * * *":                          "the step",
		"*/x * * * *":                           "the step",
		"?/5 * * * *":                           "is not known",
		"5-1 * * * *":                           "runs backwards",
		"1, * * * *":                            "is not between",
		"1-2-3 * * * *":                         "is not between",
		"a * * * *":                             `"A" is not known`,
		"* * * mon *":                           `"MON" is not known`,
		"* * 32W * *":                           "the day of month",
		"* * W * *":                             "the day of month",
		"* * * * 1#6":                           "after #",
		"* * * * #":                             "after #",
		"L * * * *":                             "is not known",
		"@never":                                "none of",
		"@":                                     "none of",
		"-1 * * * *":                            "is not between",
		"+1 * * * *":                            "is not known",
		"00001 * * * *":                         "is not between",
		"١ * * * *":                             "is not known",
		strings.Repeat("1,", 200) + "1 * * * *": "characters",
	} {
		if err := cron.Check(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "0 0/30 * * * * *", "@daily", "30 4 LW * ?", "0 9 ? * MON#2 2030", "1-5/2,7 * * * 5L", "\xff * * * *"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := cron.Check(text)
		if err == nil && !strings.HasPrefix(text, "@") {
			if n := len(strings.Fields(text)); n < 5 || n > 7 {
				t.Errorf("%q with %d fields", text, n)
			}
		}
	})
}
