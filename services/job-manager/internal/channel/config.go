package channel

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/egress"
)

// Secret is a text that is never printed.
type Secret string

// String hides it.
func (Secret) String() string { return "[secret]" }

// GoString hides it.
func (Secret) GoString() string { return "[secret]" }

// MarshalText hides it.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// How connections to the mail server are encrypted.
const (
	TLSMandatory     = "mandatory"
	TLSOpportunistic = "opportunistic"
	TLSNone          = "none"
)

// SMTP is the server that takes mail.
type SMTP struct {
	// Host of the server; empty for none: then mail fails.
	Host string
	// Port of the server.
	Port int
	// TLS says whether STARTTLS is mandatory, opportunistic or none. On port 465 TLS comes first, whatever it says.
	TLS string
	// Username and Password; without a name nobody logs in.
	Username string
	Password Secret
	// From is the sender of all mail.
	From string
}

// Slack is how its channels are reached. Incoming webhooks need none of it.
type Slack struct {
	// Token of a bot with the scope chat:write; empty for none: then messages to channels fail.
	Token Secret
	// API is the address of Slack's methods.
	API string
}

// Config of the channels.
type Config struct {
	// Egress says which addresses webhooks may reach.
	Egress egress.Policy
	// PublicURL is where people reach the colony's REST, for links in messages; empty leaves them out.
	PublicURL string
	// SigningKeys sign webhooks, see sign.go; empty for none: then they are not signed.
	SigningKeys Secret
	SMTP        SMTP
	Slack       Slack
}

const (
	submissionPort = 587
	implicitTLS    = 465
)

// DefaultConfig reaches webhooks in the public internet.
func DefaultConfig() Config {
	return Config{SMTP: SMTP{Port: submissionPort, TLS: TLSOpportunistic}, Slack: Slack{API: "https://slack.com/api/"}}
}

// Environment takes over what the environment says:
//
//	FORMICARY_SMTP_HOST, _PORT, _TLS, _USERNAME, _PASSWORD or _PASSWORD_FILE, _FROM
//	FORMICARY_SLACK_TOKEN or _TOKEN_FILE, FORMICARY_SLACK_API
//	FORMICARY_WEBHOOK_KEYS or _KEYS_FILE
//	FORMICARY_URL, FORMICARY_NOTIFY_ALLOW_PRIVATE, FORMICARY_NOTIFY_EGRESS (as --egress)
func (c *Config) Environment(getenv func(string) string) error {
	var faults []error
	for name, to := range map[string]*string{
		"SMTP_HOST": &c.SMTP.Host, "SMTP_TLS": &c.SMTP.TLS, "SMTP_USERNAME": &c.SMTP.Username, "SMTP_FROM": &c.SMTP.From,
		"SLACK_API": &c.Slack.API, "URL": &c.PublicURL,
	} {
		if v := getenv(prefix + name); v != "" {
			*to = v
		}
	}
	for name, to := range map[string]*Secret{"SMTP_PASSWORD": &c.SMTP.Password, "SLACK_TOKEN": &c.Slack.Token, "WEBHOOK_KEYS": &c.SigningKeys} {
		faults = append(faults, secret(to, prefix+name, getenv))
	}
	if v := getenv(prefix + "SMTP_PORT"); v != "" {
		port, err := strconv.Atoi(v)
		if err != nil {
			faults = append(faults, fmt.Errorf("%sSMTP_PORT %q is no number", prefix, v))
		}
		c.SMTP.Port = port
	}
	if v := getenv(prefix + "NOTIFY_ALLOW_PRIVATE"); v != "" {
		allow, err := strconv.ParseBool(v)
		if err != nil {
			faults = append(faults, fmt.Errorf("%sNOTIFY_ALLOW_PRIVATE %q is neither true nor false", prefix, v))
		}
		c.Egress.Private = allow
	}
	if v := getenv(prefix + "NOTIFY_EGRESS"); v != "" {
		private := c.Egress.Private
		if err := c.Egress.UnmarshalText([]byte(v)); err != nil {
			faults = append(faults, fmt.Errorf("%sNOTIFY_EGRESS: %w", prefix, err))
		}
		c.Egress.Private = c.Egress.Private || private
	}
	return errors.Join(faults...)
}

const prefix = "FORMICARY_"

// secret reads a secret from the environment, or from the file that it names.
func secret(to *Secret, name string, getenv func(string) string) error {
	if v := getenv(name); v != "" {
		*to = Secret(v)
		return nil
	}
	file := getenv(name + "_FILE")
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read %s_FILE: %w", name, err)
	}
	*to = Secret(strings.TrimSpace(string(text)))
	return nil
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	if c.SMTP.Host != "" {
		if c.SMTP.Port < 1 || c.SMTP.Port > 65535 {
			faults = append(faults, fmt.Errorf("SMTP port %d: want 1 to 65535", c.SMTP.Port))
		}
		if a, err := mail.ParseAddress(c.SMTP.From); err != nil || !strings.Contains(a.Address, "@") {
			faults = append(faults, fmt.Errorf("SMTP sender %q (FORMICARY_SMTP_FROM): want an address", c.SMTP.From))
		}
		switch c.SMTP.TLS {
		case TLSMandatory, TLSOpportunistic, TLSNone:
		default:
			faults = append(faults, fmt.Errorf("SMTP TLS %q: want %s, %s or %s", c.SMTP.TLS, TLSMandatory, TLSOpportunistic, TLSNone))
		}
	}
	if _, err := c.SigningKeys.keys(); err != nil {
		faults = append(faults, fmt.Errorf("keys that sign webhooks (FORMICARY_WEBHOOK_KEYS): %w", err))
	}
	for name, text := range map[string]string{"Slack API": c.Slack.API, "public URL": c.PublicURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			faults = append(faults, fmt.Errorf("%s %q: want http://host or https://host", name, text))
		}
	}
	return errors.Join(faults...)
}
