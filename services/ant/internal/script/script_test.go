package script

import "testing"

func TestEnvLines(t *testing.T) {
	for line, want := range map[string]string{
		"env A=1":              "A=1; export A",
		"  env\tA_b2=x/y:z  ":  "A_b2=x/y:z; export A_b2",
		"env A=":               "A=; export A",
		"env A='a b; rm'":      "A='a b; rm'; export A",
		`env A="a $B c"`:       `A="a $B c"; export A`,
		`env A=$B`:             `A=$B; export A`,
		`env A=${B:-x}`:        `A=${B:-x}; export A`,
		`env A=a\ b`:           `A=a\ b; export A`,
		`env A=x#y`:            `A=x#y; export A`,
		`env A="say \"hi\""`:   `A="say \"hi\""; export A`,
		`env A='it'"'"'s'`:     `A='it'"'"'s'; export A`,
		"env A=1 make":         "",
		"env A=1 B=2":          "",
		"env A=1; echo":        "",
		"env A=1 && true":      "",
		"env A=1|sort":         "",
		"env A=1 > file":       "",
		"env A=$(date)":        "",
		`env A="$(date)"`:      "",
		"env A=`date`":         "",
		`env A="a`:             "",
		`env A='a`:             "",
		`env A=a\`:             "",
		"env":                  "",
		"env -i A=1":           "",
		"env 1A=1":             "",
		"env =1":               "",
		"envA=1":               "",
		"environment A=1":      "",
		"env A=1\nenv B=2":     "",
		"echo env A=1":         "",
		"env A-B=1":            "",
		"sudo env A=1 command": "",
	} {
		if want == "" {
			want = line
		}
		if got := exported(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
