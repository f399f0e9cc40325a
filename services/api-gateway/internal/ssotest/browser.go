package ssotest

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Browser follows redirects and keeps cookies. It does not know pages: a test fills in their forms.
type Browser struct {
	*http.Client
	t testing.TB
}

// Page is what a browser shows.
type Page struct {
	Code   int
	URL    *url.URL
	Header http.Header
	Body   string
}

// NewBrowser returns one without cookies.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{&http.Client{Jar: jar, Transport: &http.Transport{}}, t}
	t.Cleanup(b.CloseIdleConnections)
	return b
}

// Get opens an address.
func (b *Browser) Get(at string) Page {
	b.t.Helper()
	return b.do(http.MethodGet, at, nil)
}

// Post sends a form: names and values in turn.
func (b *Browser) Post(at string, fields ...string) Page {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.do(http.MethodPost, at, form)
}

func (b *Browser) do(verb, at string, form url.Values, headers ...string) Page {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), verb, at, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	res, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return Page{res.StatusCode, res.Request.URL, res.Header, string(raw)}
}

// PostFrom sends a form from a page of another origin.
func (b *Browser) PostFrom(origin, at string, form url.Values) Page {
	b.t.Helper()
	return b.do(http.MethodPost, at, form, "Origin: "+origin, "Sec-Fetch-Site: cross-site")
}

// Onward is where a page leads by itself.
func (b *Browser) Onward(p Page) string {
	b.t.Helper()
	_, at, ok := strings.Cut(p.Header.Get("Refresh"), "url=")
	if !ok || p.Code != http.StatusOK {
		b.t.Fatalf("%d, leads nowhere: %s", p.Code, p.Body)
	}
	return at
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// Hidden are the fields of a page's forms that people do not see.
func (p Page) Hidden() url.Values {
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(p.Body, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	return form
}

// LogIn gives name and password at the page of the provider.
func (b *Browser) LogIn(p Page, user string) Page {
	b.t.Helper()
	form := p.Hidden()
	if form.Get("id") == "" {
		b.t.Fatalf("%d %s is not the provider's page: %s", p.Code, p.URL, p.Body)
	}
	form.Set("username", user)
	form.Set("password", Password)
	return b.do(http.MethodPost, p.URL.Scheme+"://"+p.URL.Host+"/login/username", form)
}
