package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

func (c *Channels) mail(ctx context.Context, d *notify.Delivery) error {
	if c.conf.SMTP.Host == "" {
		return notify.Refuse("mail is not configured: the server is missing (FORMICARY_SMTP_HOST)")
	}
	msg, err := c.letter(ctx, d)
	if err != nil {
		return err
	}
	client, err := c.mailer(ctx)
	if err != nil {
		return notify.Refuse("the settings of the mail server are wrong: %w", err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if egress.Refused(err) {
		return notify.Refuse("the mail server is not reached: %w", err)
	}
	if err != nil {
		return fmt.Errorf("reach the mail server: %w", err)
	}
	// Once the server has taken the mail its goodbye does not matter.
	defer func() { _ = client.CloseWithSMTPClient(conn) }()
	if err := client.SendWithSMTPClient(conn, msg); err != nil {
		return mailError(err)
	}
	return nil
}

// mailError tells what the server refuses for good from what it may take later.
func mailError(err error) error {
	code := 0
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		code = e.Code
	}
	if e, ok := errors.AsType[*mail.SendError](err); ok && code == 0 {
		code = e.ErrorCode()
	}
	if code >= 500 && code < 600 {
		return notify.Refuse("the mail server refuses it: %w", err)
	}
	return fmt.Errorf("the mail server does not take it: %w", err)
}

// letter writes the mail. Its id and date are the same each time.
func (c *Channels) letter(ctx context.Context, d *notify.Delivery) (*mail.Msg, error) {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(c.conf.SMTP.From); err != nil {
		return nil, notify.Refuse("the sender is no address (FORMICARY_SMTP_FROM): %w", err)
	}
	if err := msg.To(d.Target.Address); err != nil {
		return nil, notify.Refuse("%q is no address of mail", d.Target.Address)
	}
	_, domain, _ := strings.Cut(msg.GetFrom()[0].Address, "@")
	msg.SetMessageIDWithValue(d.ID.String() + "@" + domain)
	msg.SetDateWithValue(d.CreatedAt)
	msg.Subject(d.Subject)
	msg.SetGenHeader(headerDelivery, d.ID.String())
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(mail.TypeTextPlain, c.text(ctx, d))
	return msg, nil
}

func (c *Channels) mailer(ctx context.Context) (*mail.Client, error) {
	s := &c.conf.SMTP
	opts := []mail.Option{mail.WithPort(s.Port), mail.WithTLSPolicy(policy(s.TLS)), mail.WithDialContextFunc(c.dial)}
	if c.roots != nil {
		opts = append(opts, mail.WithTLSConfig(c.tls()))
	}
	if s.Port == c.implicitTLS { // dial has it; the library sees that
		opts = append(opts, mail.WithTLSPolicy(mail.TLSOpportunistic))
	}
	if left := remaining(ctx); left > 0 {
		opts = append(opts, mail.WithTimeout(left))
	}
	if s.Username != "" { // never in the clear: without TLS only methods are used that do not show the password
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.Username), mail.WithPassword(string(s.Password)))
	}
	return mail.NewClient(s.Host, opts...)
}

// dial connects to the mail server, which the operator names.
func (c *Channels) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := egress.Dialer(egress.Options{Policy: operated, DialTime: dialTime})(ctx, network, address)
	if err != nil || c.conf.SMTP.Port != c.implicitTLS {
		return conn, err
	}
	encrypted := tls.Client(conn, c.tls())
	if err := encrypted.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return encrypted, nil
}

func (c *Channels) tls() *tls.Config {
	return &tls.Config{ServerName: c.conf.SMTP.Host, RootCAs: c.roots, MinVersion: tls.VersionTLS12}
}

func policy(name string) mail.TLSPolicy {
	switch name {
	case TLSMandatory:
		return mail.TLSMandatory
	case TLSNone:
		return mail.NoTLS
	default:
		return mail.TLSOpportunistic
	}
}
