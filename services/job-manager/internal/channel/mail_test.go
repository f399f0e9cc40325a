package channel

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

// postOffice is a mail server.
type postOffice struct {
	mu     sync.Mutex
	mails  []string
	to     []string
	refuse *smtp.SMTPError // of the recipient
	login  string
	roots  *x509.CertPool
}

func (p *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{p}, nil }

type session struct{ *postOffice }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, password string) error {
		if password != "secret" {
			return errors.New("wrong password")
		}
		s.login = name
		return nil
	}), nil
}
func (*session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.refuse != nil {
		return s.refuse
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, string(raw))
	return err
}
func (*session) Reset()        {}
func (*session) Logout() error { return nil }

// newPostOffice starts one and returns the settings to reach it.
func newPostOffice(t *testing.T) (*postOffice, Config) {
	t.Helper()
	return openPostOffice(t, false)
}

// openPostOffice starts one to which TLS comes first, or STARTTLS.
func openPostOffice(t *testing.T, tlsFirst bool) (*postOffice, Config) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // lends its certificate
	t.Cleanup(web.Close)
	p := &postOffice{roots: x509.NewCertPool()}
	p.roots.AddCert(web.Certificate())
	s := smtp.NewServer(p)
	s.Domain, s.TLSConfig = "localhost", &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	if tlsFirst {
		lis = tls.NewListener(lis, s.TLSConfig)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	conf := DefaultConfig()
	host, port, _ := net.SplitHostPort(addr)
	conf.SMTP.Host, conf.SMTP.From = host, "Colony <colony@formicary.example>"
	conf.SMTP.Port, _ = strconv.Atoi(port)
	return p, conf
}

func TestMail(t *testing.T) {
	p, conf := newPostOffice(t)
	conf.SMTP.Username, conf.SMTP.Password, conf.SMTP.TLS = "me", "secret", TLSMandatory
	c := channels(t, conf)
	c.roots = p.roots
	for range 2 { // as after a crash between the sending and the storing
		if err := c.Send(t.Context(), delivery("email", "a@b.example")); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.mails) != 2 || p.mails[0] != p.mails[1] || p.to[0] != "a@b.example" || p.login != "me" {
		t.Fatalf("%v for %v by %s", p.mails, p.to, p.login)
	}
	m, err := netmail.ReadMessage(strings.NewReader(p.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Message-Id": "<01900000-0000-7000-8000-00000000000a@formicary.example>", "Subject": "Job j failed", "To": "<a@b.example>",
		"X-Formicary-Delivery": "01900000-0000-7000-8000-00000000000a", "Auto-Submitted": "auto-generated",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if at, err := m.Header.Date(); err != nil || at.Year() != 2026 || !strings.HasPrefix(m.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v, %v, %s", at, err, m.Header.Get("Content-Type"))
	}
	body, _ := io.ReadAll(m.Body)
	for _, want := range []string{"Error:", "ERR_X", "1m30s", "deploy", "exit code 3", "Output of build", "12 tests"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%s lacks %q", body, want)
		}
	}
}

// TestMailWhereTLSComesFirst logs in, which only happens where nobody listens.
func TestMailWhereTLSComesFirst(t *testing.T) {
	p, conf := openPostOffice(t, true)
	conf.SMTP.Username, conf.SMTP.Password, conf.SMTP.TLS = "me", "secret", TLSMandatory
	c := channels(t, conf)
	c.implicitTLS = conf.SMTP.Port
	if err := c.Send(t.Context(), delivery("email", "a@b.example")); err == nil {
		t.Error("sent to a server whose certificate nobody knows")
	}
	c.roots = p.roots
	if err := c.Send(t.Context(), delivery("email", "a@b.example")); err != nil || len(p.mails) != 1 || p.login != "me" {
		t.Errorf("%v: %d mails by %q", err, len(p.mails), p.login)
	}
}

// TestMailServerIsNoMetadataService: also what the operator names is checked for the addresses that are never reached.
func TestMailServerIsNoMetadataService(t *testing.T) {
	conf := DefaultConfig()
	conf.SMTP.Host, conf.SMTP.From = "169.254.169.254", "a@b.example"
	if err := channels(t, conf).Send(t.Context(), delivery("email", "a@b.example")); !notify.Refused(err) || !strings.Contains(err.Error(), "not allowed") {
		t.Error(err)
	}
}

// TestMailCannotBeInjected has texts that end the line of a header.
func TestMailCannotBeInjected(t *testing.T) {
	p, conf := newPostOffice(t)
	d := delivery("email", "a@b.example")
	d.Subject = "Job j\r\nBcc: evil@x.example\r\n\r\nbody"
	d.Message.JobType = "j\r\n.\r\nMAIL FROM:<x>"
	c := channels(t, conf)
	c.roots = p.roots
	if err := c.Send(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	m, err := netmail.ReadMessage(strings.NewReader(p.mails[0]))
	if err != nil || m.Header.Get("Bcc") != "" || len(p.mails) != 1 || len(p.to) != 1 {
		t.Errorf("%v: %s for %v", err, p.mails, p.to)
	}
	for _, address := range []string{"a@b.example\r\nBcc: evil@x.example", "a@b.example>\r\nRCPT TO:<evil@x.example", "nobody", ""} {
		if err := channels(t, conf).Send(t.Context(), delivery("email", address)); !notify.Refused(err) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestMailFailures(t *testing.T) {
	p, conf := newPostOffice(t)
	c := channels(t, conf)
	c.roots = p.roots
	for _, refused := range []bool{true, false} {
		p.refuse = &smtp.SMTPError{Code: 451, Message: "later"}
		if refused {
			p.refuse = &smtp.SMTPError{Code: 550, Message: "nobody of that name"}
		}
		err := c.Send(t.Context(), delivery("email", "a@b.example"))
		if err == nil || notify.Refused(err) != refused {
			t.Errorf("%v", err)
		}
	}
	p.refuse = nil
	mandatory := conf
	mandatory.SMTP.TLS = TLSMandatory
	if err := channels(t, mandatory).Send(t.Context(), delivery("email", "a@b.example")); err == nil {
		t.Error("sent to a server whose certificate nobody knows")
	}
	wrong := conf
	wrong.SMTP.Username, wrong.SMTP.Password = "me", "hunter2"
	stranger := channels(t, wrong)
	stranger.roots = p.roots
	if err := stranger.Send(t.Context(), delivery("email", "a@b.example")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	away := conf
	away.SMTP.Port = 1
	if err := channels(t, away).Send(t.Context(), delivery("email", "a@b.example")); err == nil || notify.Refused(err) {
		t.Error(err)
	}
	none := conf
	none.SMTP.Host = ""
	if err := channels(t, none).Send(t.Context(), delivery("email", "a@b.example")); !notify.Refused(err) || !strings.Contains(err.Error(), "FORMICARY_SMTP_HOST") {
		t.Error(err)
	}
	if len(p.mails) != 0 {
		t.Error("something was sent")
	}
}
