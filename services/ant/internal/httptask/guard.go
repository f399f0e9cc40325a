package httptask

import (
	"fmt"
	"net/netip"
	"syscall"
)

// Ranges that are never the goal of a task, whatever the configuration: they name this host in disguise, the
// link, a cloud's metadata service, or nobody.
var never = prefixes( //nolint:gochecknoglobals // a constant table
	"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32",
	"::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "100::/64", "2001:db8::/32",
)

// Ranges of one's own host and networks.
var private = prefixes( //nolint:gochecknoglobals // a constant table
	"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fec0::/10",
)

// Ranges of IPv6 that carry an IPv4 address, and where in their bytes it stands.
var carriers = []struct { //nolint:gochecknoglobals // a constant table
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// teredo hides the IPv4 address of its client; nothing is reached by it that has no better address.
var teredo = netip.MustParsePrefix("2001::/32") //nolint:gochecknoglobals // a constant

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

func in(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// check refuses addresses that a task must not reach.
func check(a netip.Addr, allowPrivate bool) error {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), in(never, a), a.Is6() && teredo.Contains(a):
		return fmt.Errorf("address %s is not allowed", a)
	case in(private, a):
		if allowPrivate {
			return nil
		}
		return fmt.Errorf("address %s is not allowed: it is private", a)
	}
	for _, c := range carriers {
		if a.Is6() && c.prefix.Contains(a) {
			b := a.As16()
			return check(netip.AddrFrom4([4]byte(b[c.at:c.at+4])), allowPrivate)
		}
	}
	return nil
}

// control is called with the resolved address of every connection before it is opened, so it sees what a name resolves
// to at that moment, also after a redirect.
func control(allowPrivate bool) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		if network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("network %s is not allowed", network)
		}
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address %s: %w", address, err)
		}
		return check(ap.Addr(), allowPrivate)
	}
}
