package balance

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Resolve returns an endpoint for each address of the name in rawURL, in order
// of address, for a service whose name has the addresses of all replicas. Give
// [New] the name as [Options].Host, and the URL as Base:
//
//	endpoints, err := balance.Resolve(ctx, "https://vgi.example/api")
//	lb, err := balance.New(endpoints, balance.Options{Base: "https://vgi.example/api", Host: "vgi.example"})
//
// The addresses are those of now; a Transport does not look again.
func Resolve(ctx context.Context, rawURL string) ([]string, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	out := make([]string, len(addrs))
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	for i, a := range addrs {
		each := *u
		each.Host = net.JoinHostPort(a.String(), port)
		out[i] = each.String()
	}
	return out, nil
}
