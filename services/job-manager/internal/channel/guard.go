package channel

import (
	"net/netip"
	"syscall"

	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

// never are ranges that no message goes to, whatever the configuration: this host in disguise, the link, the metadata
// service of a cloud, groups and what is nobody's.
var never = ranges( //nolint:gochecknoglobals // a constant table
	"0.0.0.0/8", "100.100.100.200/32", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/3",
	"::/128", "100::/64", "2001::/32", "2001:db8::/32", "fd00:ec2::/32", "fe80::/10", "ff00::/8",
)

// own are ranges of this host and of private networks.
var own = ranges( //nolint:gochecknoglobals // a constant table
	"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fec0::/10",
)

// wrapped are ranges of IPv6 whose addresses hold one of IPv4, and at which byte it begins.
var wrapped = map[netip.Prefix]int{ //nolint:gochecknoglobals // a constant table
	netip.MustParsePrefix("::/96"):           12,
	netip.MustParsePrefix("::ffff:0:0:0/96"): 12,
	netip.MustParsePrefix("64:ff9b::/96"):    12,
	netip.MustParsePrefix("64:ff9b:1::/48"):  12,
	netip.MustParsePrefix("2002::/16"):       2,
}

func ranges(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

func within(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// reachable refuses addresses that a message must not go to.
func reachable(a netip.Addr, allowPrivate bool) error {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid() || within(a, never):
		return notify.Refuse("the address %s is not allowed", a)
	case within(a, own) && allowPrivate:
		return nil
	case within(a, own):
		return notify.Refuse("the address %s is not allowed: it is private (setting --allow-private)", a)
	}
	for prefix, at := range wrapped {
		if a.Is6() && prefix.Contains(a) {
			b := a.As16()
			return reachable(netip.AddrFrom4([4]byte(b[at:at+4])), allowPrivate)
		}
	}
	return nil
}

// guard returns what a dialer calls with the resolved address of each connection before it opens it: it sees what a name
// means at that moment, also after a redirect.
func guard(allowPrivate bool) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return notify.Refuse("the address %s %s is not allowed", network, address)
		}
		return reachable(at.Addr(), allowPrivate)
	}
}
