package egress

import "net/netip"

// never are ranges that nothing is sent to, whatever the policy: this host in disguise, the link, the metadata services of
// clouds, groups, and what is nobody's.
var never = prefixes( //nolint:gochecknoglobals // a constant table
	"0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"::/128", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fd00:ec2::/32", "fd20:ce::254/128", "fe80::/10", "ff00::/8",
)

// private are ranges of this host and of one's own networks.
var private = prefixes( //nolint:gochecknoglobals // a constant table
	"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fec0::/10",
)

// carriers are ranges of IPv6 whose addresses hold one of IPv4, and at which byte it begins.
var carriers = []struct { //nolint:gochecknoglobals // a constant table
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// localNAT64 may hold the address of IPv4 at any of five places; only the one that carriers knows is understood.
var localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48") //nolint:gochecknoglobals // a constant

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
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

// carried returns the address of IPv4 that one of IPv6 leads to. ok is false for one that leads to an address that cannot
// be known.
func carried(a netip.Addr) (inner netip.Addr, ok bool) {
	if !a.Is6() {
		return netip.Addr{}, true
	}
	b := a.As16()
	for _, c := range carriers {
		if c.prefix.Contains(a) {
			return netip.AddrFrom4([4]byte(b[c.at : c.at+4])), true
		}
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, below any prefix
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, !localNAT64.Contains(a)
}
