package up

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Addresses that other processes will listen on are chosen below the range from which the system hands out ports, so
// that no outgoing connection takes one before they do.
const (
	lowestPort  = 20000
	highestPort = 30000
	portTries   = 200
)

// probe returns n free addresses on host that were not there before.
func probe(host string, n int) ([]string, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	var out []string
	for range portTries {
		if len(out) == n {
			return out, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort) // #nosec G404 -- only spreads
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		held = append(held, l)
		out = append(out, l.Addr().String())
	}
	return nil, fmt.Errorf("no %d free ports on %s between %d and %d", n, host, lowestPort, highestPort)
}

// free says whether an address can be listened on now.
func free(addr string) bool {
	if addr == "" {
		return false
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// keep returns the address of the run before when it is free, so that who knows it need not ask again; else the new one.
func keep(before, fresh string) string {
	if free(before) {
		return before
	}
	return fresh
}

// listen opens an address, preferring the one of the run before where the port is free to choose.
func listen(addr, before string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if was, _, err := net.SplitHostPort(before); err == nil && port == "0" && was == host {
		if l, err := net.Listen("tcp", before); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (does another colony run? --listen chooses another address, port 0 a free one): %w", addr, err)
	}
	return l, nil
}

// after returns addr with its port moved by n; port 0 stays 0.
func after(addr string, n int) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	p, err := strconv.Atoi(port)
	if err != nil || p == 0 {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(p+n))
}
