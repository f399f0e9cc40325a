package channel

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/egress"
)

func TestEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("xoxb-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"FORMICARY_SMTP_HOST": "mail.example", "FORMICARY_SMTP_PORT": "25", "FORMICARY_SMTP_TLS": "mandatory", "FORMICARY_SMTP_USERNAME": "me",
		"FORMICARY_SMTP_PASSWORD": "hunter2", "FORMICARY_SMTP_FROM": "a@b.example", "FORMICARY_SLACK_TOKEN_FILE": file,
		"FORMICARY_URL": "https://x.example", "FORMICARY_NOTIFY_ALLOW_PRIVATE": "true",
		"FORMICARY_NOTIFY_EGRESS": "hooks.corp",
	}
	conf := DefaultConfig()
	if err := conf.Environment(func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	want := Config{
		Egress: egress.Policy{Private: true, Hosts: []string{"hooks.corp"}}, PublicURL: "https://x.example", Slack: Slack{Token: "xoxb-1", API: "https://slack.com/api/"},
		SMTP: SMTP{Host: "mail.example", Port: 25, TLS: "mandatory", Username: "me", Password: "hunter2", From: "a@b.example"},
	}
	if !reflect.DeepEqual(conf, want) || conf.Validate() != nil {
		t.Errorf("%#v, %v", conf, conf.Validate())
	}
	encoded, _ := json.Marshal(conf)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", conf, conf, conf), string(encoded)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "xoxb") {
			t.Error("a secret is printed: " + text)
		}
	}
	for name, value := range map[string]string{
		"FORMICARY_SMTP_PORT": "x", "FORMICARY_NOTIFY_ALLOW_PRIVATE": "perhaps", "FORMICARY_NOTIFY_EGRESS": "a b", "FORMICARY_SMTP_PASSWORD_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		conf := DefaultConfig()
		if err := conf.Environment(func(asked string) string { return map[string]string{name: value}[asked] }); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	conf := Config{PublicURL: "x", Slack: Slack{API: "ftp://x"}, SMTP: SMTP{Host: "h", TLS: "some", From: "nobody"}}
	err := conf.Validate()
	for _, want := range []string{"port", "FORMICARY_SMTP_FROM", "TLS", "Slack API", "public URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
	if conf := DefaultConfig(); conf.Validate() != nil {
		t.Error(conf.Validate())
	}
}
