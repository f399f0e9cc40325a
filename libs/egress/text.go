package egress

import (
	"flag"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// The items of a policy's text that allow all private networks, and all ports.
const (
	word  = "private"
	ports = ":*"
)

// Flags adds the flags --egress and --allow-private. what is it that connects, "webhooks" for example.
func Flags(fs *flag.FlagSet, p *Policy, what string) {
	fs.BoolVar(&p.Private, "allow-private", p.Private, "let "+what+" reach this host and private networks, as --egress private does")
	fs.Func("egress", "what "+what+" may reach beyond the public internet: a `LIST` of ranges, addresses, names of hosts, or private for all private networks; "+
		":PORT names the only ports, :* allows all. Link-local and metadata addresses are never reached. Example: --egress 10.1.0.0/16,hooks.corp,:443",
		func(text string) error {
			private := p.Private
			err := p.UnmarshalText([]byte(text))
			p.Private = p.Private || private
			return err
		})
}

var hostName = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?\.?$`)

// UnmarshalText reads what is allowed beyond the public internet, separated by commas: ranges (10.1.0.0/16), addresses,
// names of hosts, or "private" for this host and all private networks. Items such as ":8443" name the only ports, ":*" is all.
// An empty text is the zero value.
func (p *Policy) UnmarshalText(text []byte) error {
	out := Policy{}
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if err := out.add(item); err != nil {
			return err
		}
	}
	*p = out
	return nil
}

func (p *Policy) add(item string) error {
	switch item {
	case word:
		p.Private = true
		return nil
	case ports:
		p.AnyPort = true
		return nil
	}
	if port, ok := strings.CutPrefix(item, ":"); ok && !strings.Contains(port, ":") {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("port %q: want :1 to :65535", item)
		}
		p.Ports = append(p.Ports, uint16(n))
		return nil
	}
	if a, err := netip.ParseAddr(item); err == nil {
		item = netip.PrefixFrom(a, a.BitLen()).String()
	}
	if r, err := netip.ParsePrefix(item); err == nil {
		if r.Masked() != r || r.Addr().Is4In6() {
			return fmt.Errorf("range %q: want its first address, %s for example", item, r.Masked())
		}
		p.Ranges = append(p.Ranges, r)
		return nil
	}
	if !hostName.MatchString(item) || strings.Trim(item, "0123456789.") == "" {
		return fmt.Errorf("%q: want a range such as 10.1.0.0/16, an address, the name of a host, :PORT or %q", item, word)
	}
	p.Hosts = append(p.Hosts, plain(item))
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (p Policy) MarshalText() ([]byte, error) {
	var items []string
	if p.Private {
		items = append(items, word)
	}
	for _, r := range p.Ranges {
		items = append(items, r.String())
	}
	items = append(items, p.Hosts...)
	if p.AnyPort {
		items = append(items, ports)
	}
	for _, n := range p.Ports {
		items = append(items, ":"+strconv.Itoa(int(n)))
	}
	return []byte(strings.Join(items, ",")), nil
}
