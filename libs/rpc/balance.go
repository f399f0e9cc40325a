package rpc

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// spread makes a connection use every replica that its target names. It connects to all of them at once, so the death
// of one costs the calls that were on their way to it, and those are made again by retry.
const spread = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// replicas turns an address of the configuration into a target: one host:port is asked of DNS, and again whenever a
// server ends a connection for its age; several, separated by commas, are the replicas themselves. A target with a
// scheme stays what it is.
func replicas(addr string) (target string, opts []grpc.DialOption) {
	if strings.Contains(addr, "://") || !strings.Contains(addr, ",") {
		return addr, nil
	}
	var state resolver.State
	for one := range strings.SplitSeq(addr, ",") {
		if one = strings.TrimSpace(one); one != "" {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: one}}})
		}
	}
	if len(state.Endpoints) == 0 {
		return addr, nil // grpc says what is wrong with it
	}
	list := manual.NewBuilderWithScheme("replicas")
	list.InitialState(state)
	first := state.Endpoints[0].Addresses[0].Addr
	return "replicas:///" + first, []grpc.DialOption{grpc.WithResolvers(list), grpc.WithAuthority(first)}
}
