package egress

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestAddresses is the table of what may be reached: by everybody, where private networks are allowed, or never.
func TestAddresses(t *testing.T) {
	for want, addresses := range map[string][]string{
		"public": {
			"8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8",
			"64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "2002:808:808::1", "::8.8.8.8", "2606:4700::5efe:808:808",
		},
		"private": {
			"127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "fec0::1",
			"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1",
			"::ffff:0:10.0.0.1", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1", "::1%lo",
		},
		"never": {
			"0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1",
			"198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
			"::", "100::1", "2001::1", "2001:0:1::1", "2001:2::1", "2001:10::1", "2001:db8::1", "3fff::1", "5f00::1", "fd00:ec2::254", "fd20:ce::254",
			"fe80::1", "fe80::1%eth0", "fe80::a9fe:a9fe", "ff02::1",
			"::ffff:169.254.169.254", "::ffff:0.0.0.0", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "::a9fe:a9fe",
			"2606:4700::5efe:169.254.169.254", "::ffff:0:169.254.169.254",
			"64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:7f00:0:100::", // the same, as networks of other lengths hold it
		},
	} {
		for _, text := range addresses {
			to := netip.AddrPortFrom(netip.MustParseAddr(text), 443)
			public, private := (&Policy{}).Check("x", to), (&Policy{Private: true}).Check("x", to)
			got := "never"
			switch {
			case public == nil && private == nil:
				got = "public"
			case private == nil:
				got = "private"
			}
			if got != want {
				t.Errorf("%s is %s, want %s", text, got, want)
			}
			if public != nil && !Refused(public) || private != nil && !Refused(private) {
				t.Errorf("%s: %v and %v are no refusals", text, public, private)
			}
		}
	}
}

func TestPolicyAllowsOnlyWhatItNames(t *testing.T) {
	for text, tries := range map[string]map[string]bool{
		"":                      {"x 8.8.8.8:443": true, "x 8.8.8.8:80": true, "x 8.8.8.8:8443": true, "x 8.8.8.8:22": false, "x 8.8.8.8:25": false, "x 8.8.8.8:0": false},
		"10.1.0.0/16":           {"x 10.1.2.3:80": true, "x 10.2.0.1:80": false, "x [::ffff:10.1.0.1]:80": true, "x 8.8.8.8:80": true},
		"127.0.0.1, fd00::/8":   {"x 127.0.0.1:80": true, "x 127.0.0.2:80": false, "x [fd00::1]:80": true, "x [fd00:ec2::254]:80": false, "x [::1]:80": false},
		"hooks.corp":            {"hooks.corp 10.1.2.3:80": true, "HOOKS.Corp. 127.0.0.1:80": true, "hooks.corp.evil 10.1.2.3:80": false, "hooks.corp 169.254.169.254:80": false},
		":443,:8443":            {"x 8.8.8.8:443": true, "x 8.8.8.8:8443": true, "x 8.8.8.8:80": false},
		":*":                    {"x 8.8.8.8:22": true, "x 10.1.2.3:22": false},
		"169.254.0.0/16":        {"x 169.254.169.254:80": false},
		"private":               {"x 10.1.2.3:80": true, "x 169.254.169.254:80": false, "x 10.1.2.3:22": false},
		"0.0.0.0/0,::/0,a-b_.c": {"x 0.0.0.0:80": false, "x 127.0.0.1:80": true, "x [fe80::1]:80": false},
	} {
		var p Policy
		if err := p.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for try, want := range tries {
			host, to, _ := strings.Cut(try, " ")
			if err := p.Check(host, netip.MustParseAddrPort(to)); (err == nil) != want {
				t.Errorf("%q: %s: %v", text, try, err)
			}
		}
		var again Policy
		written, _ := p.MarshalText()
		if err := again.UnmarshalText(written); err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%q is read as %+v, and %q as %+v, %v", text, p, written, again, err)
		}
	}
	for _, text := range []string{"10.1.2.3/8", ":0", ":99999", ":x", "http://x", "a b", "*", "10.1.2", "127.1", "::ffff:10.0.0.0/104", "-x"} {
		if err := (&Policy{}).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestFlags(t *testing.T) {
	for line, want := range map[string]Policy{
		"":                                  {},
		"--allow-private":                   {Private: true},
		"--allow-private --egress :443":     {Private: true, Ports: []uint16{443}},
		"--egress private --egress a.b":     {Private: true, Hosts: []string{"a.b"}},
		"--egress 10.0.0.0/8,:* ":           {Ranges: prefixes("10.0.0.0/8"), AnyPort: true},
		"--egress :443 --allow-private=0":   {Ports: []uint16{443}},
		"--egress ,private, --egress=:8443": {Private: true, Ports: []uint16{8443}},
	} {
		var got Policy
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		Flags(fs, &got, "webhooks")
		if err := fs.Parse(strings.Fields(line)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
}

func serve(t *testing.T, h http.HandlerFunc) (port string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL[strings.LastIndex(s.URL, ":"):]
}

func client(t *testing.T, o Options) *http.Client {
	t.Helper()
	c := Client(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t *testing.T, c *http.Client, address string) (string, error) {
	t.Helper()
	res, err := c.Get(address)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return string(raw), err
}

// TestDisguises writes the address of this host in every way that a parser somewhere understands, the system's resolver for
// example.
func TestDisguises(t *testing.T) {
	port := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("this host was reached") })
	system, own := client(t, Options{}), client(t, Options{Resolver: newNameServer(t, nil)})
	for _, host := range []string{
		"127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]", "[fe80::1%25lo]",
		"example.org@127.0.0.1", "example.org:80@127.0.0.1", "example.org%2F@127.0.0.1", "127%2e0%2e0%2e1", "１２７.0.0.1",
		`127.0.0.1\@example.org`, `example.org\@127.0.0.1`, `127.0.0.1\`, "127.0.0.1%00", "127.0.0.1%20", "127.0.0.1#@example.org", "127.0.0.1?@example.org",
	} {
		address := "http://" + host + port + "/"
		if at := strings.IndexAny(host, "#?"); at >= 0 {
			address = "http://" + host[:at] + port + "/" + host[at:]
		}
		for _, c := range []*http.Client{system, own} {
			if _, err := get(t, c, address); err == nil {
				t.Errorf("%s was reached", address)
			}
		}
	}
}

// TestNameThatChangesItsMeaning is DNS rebinding: the name leads to an allowed address when it is looked at, and to another
// one at the next connection.
func TestNameThatChangesItsMeaning(t *testing.T) {
	reached := 0
	port := serve(t, func(http.ResponseWriter, *http.Request) { reached++ })
	inside := netip.MustParseAddr("127.0.0.1")
	dns := newNameServer(t, map[string][]netip.Addr{
		"rebind.test.": {netip.MustParseAddr("93.184.216.34"), inside},
		"metal.test.":  {netip.MustParseAddr("169.254.169.254")},
		"named.test.":  {inside},
	})
	c := client(t, Options{Resolver: dns, Policy: Policy{Hosts: []string{"named.test", "metal.test"}}})
	seen, err := dns.LookupNetIP(t.Context(), "ip4", "rebind.test.")
	if err != nil || (&Policy{}).Check("rebind.test", netip.AddrPortFrom(seen[0], 80)) != nil {
		t.Fatalf("the name is not seen as public first: %v, %v", seen, err)
	}
	for _, name := range []string{"rebind.test", "metal.test"} {
		if _, err := get(t, c, "http://"+name+port); !Refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if reached > 0 {
		t.Error("this host was reached")
	}
	if _, err := get(t, c, "http://named.test"+port); err != nil || reached != 1 {
		t.Errorf("a host that is allowed by its name: %v", err)
	}
}

// TestSecondConnectionIsCheckedAgain: the first one was allowed, and is not kept.
func TestSecondConnectionIsCheckedAgain(t *testing.T) {
	port := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	dns := newNameServer(t, map[string][]netip.Addr{"a.test.": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.3")}})
	c := client(t, Options{Resolver: dns, Policy: Policy{Ranges: prefixes("127.0.0.1/32")}})
	if _, err := get(t, c, "http://a.test"+port); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, c, "http://a.test"+port); !Refused(err) {
		t.Errorf("the second connection: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		n := 0
		if _, err := fmt.Sscanf(r.URL.Path, "/again/%d", &n); err == nil && n > 0 {
			to = fmt.Sprintf("/again/%d", n-1)
		}
		if to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "here")
	})
	c := client(t, Options{Policy: Policy{Ranges: prefixes("127.0.0.1/32")}})
	at := "http://127.0.0.1" + port
	if got, err := get(t, c, at+"/again/3"); err != nil || got != "here" {
		t.Errorf("three redirects: %q, %v", got, err)
	}
	for path, refused := range map[string]bool{
		"/again/4": false,
		"/?to=" + url.QueryEscape("https://127.0.0.1"+port):      false,
		"/?to=" + url.QueryEscape("ftp://127.0.0.1"+port):        false,
		"/?to=file:///etc/passwd":                                false,
		"/?to=http://169.254.169.254/latest/meta-data/":          true,
		"/?to=http://[::ffff:169.254.169.254]/":                  true,
		"/?to=http://[fd00:ec2::254]/":                           true,
		"/?to=http://127.0.0.2" + port:                           true,
		"/?to=//10.0.0.1/":                                       true,
		"/?to=" + url.QueryEscape("http://x@169.254.169.254/#@"): true,
	} {
		if _, err := get(t, c, at+path); err == nil || Refused(err) != refused {
			t.Errorf("%s: %v", path, err)
		}
	}
	first, _ := http.NewRequest(http.MethodGet, "https://a.example", nil)
	second, _ := http.NewRequest(http.MethodGet, "http://a.example", nil)
	if err := Redirect(second, []*http.Request{first}); err == nil {
		t.Error("from https to http")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/header" {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
		}
		_, _ = w.Write(make([]byte, 1000))
	})
	at := "http://127.0.0.1" + port
	for most, whole := range map[int64]bool{0: true, 1000: true, 1001: true, 999: false, 1: false} {
		got, err := get(t, client(t, Options{Policy: Policy{Private: true}, MaxBody: most}), at)
		if (err == nil) != whole || !whole && int64(len(got)) != most {
			t.Errorf("at most %d: %d bytes, %v", most, len(got), err)
		}
	}
	if _, err := get(t, client(t, Options{Policy: Policy{Private: true}}), at+"/header"); err == nil {
		t.Error("a header of any length is read")
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://192.0.2.1:9")
	}
	b, ok := Client(Options{}).Transport.(*bounded)
	if !ok || b.Proxy != nil {
		t.Error("a proxy is asked for")
	}
}

func TestDialerTakesTCPOnly(t *testing.T) {
	dial := Dialer(Options{Policy: Policy{Private: true}})
	for network, address := range map[string]string{"unix": "/run/x", "udp": "127.0.0.1:8080", "tcp": "nowhere"} {
		conn, err := dial(t.Context(), network, address)
		if !Refused(err) {
			t.Errorf("%s %s: %v", network, address, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	conn, err := dial(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestURL(t *testing.T) {
	for _, text := range []string{
		"", "x", "/p", "ftp://x/", "file:///etc/passwd", "http://", "http:/x", "http:\\\\x", `http://a\b/`, `http://a\@b/`, "http://a b", "http://a:port", "http://a/\n", ":", "gopher://x",
	} {
		if u, err := URL(text); err == nil {
			t.Errorf("%q is %v", text, u)
		}
	}
	if _, err := URL("http://me:hunter2@a b"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	if u, err := URL("https://me:pass@a.example:8443/p?q"); err != nil || u.Hostname() != "a.example" {
		t.Errorf("%v, %v", u, err)
	}
}
