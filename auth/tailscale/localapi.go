package tailscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/peer"
)

const (
	defaultSocket  = "/var/run/tailscale/tailscaled.sock"
	defaultTimeout = 5 * time.Second
	localHost      = "local-tailscaled.sock" // what the daemon wants to be called
	maxAnswer      = peer.MaxObjectBytes
	maxAnswerHead  = 32 << 10 // bytes
)

// LocalAPIOptions configure [LocalAPI].
type LocalAPIOptions struct {
	// Issuer is the operator's name for the tailnet, such as
	// "tailnet:example.com"; it has no default.
	Issuer string
	// Socket is the path of the daemon's Unix socket,
	// /var/run/tailscale/tailscaled.sock when both it and Endpoint are empty.
	Socket string
	// Endpoint is where the daemon listens instead, as in
	// "http://127.0.0.1:49152", and Password what it wants to see there.
	Endpoint, Password string
	// Timeout is for one question, whatever time its request has. 5 s when 0.
	Timeout time.Duration
}

// LocalAPIProvider asks the daemon on this machine, as "tailscale". It is a
// [peer.Provider].
type LocalAPIProvider struct {
	opts   LocalAPIOptions
	client *http.Client
}

// LocalAPI returns a provider that asks the daemon, and nobody before the first
// request. It is an error when there is no issuer, both a socket and an endpoint,
// an endpoint that is more than http, a host and a port, or a password for a
// socket.
func LocalAPI(opts LocalAPIOptions) (*LocalAPIProvider, error) {
	if err := checkIssuer(opts.Issuer); err != nil {
		return nil, err
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	network, address := "unix", opts.Socket
	switch {
	case opts.Timeout < 0:
		return nil, fmt.Errorf("tailscale: Timeout %v: want a positive time", opts.Timeout)
	case opts.Endpoint != "" && opts.Socket != "":
		return nil, errors.New("tailscale: both a Socket and an Endpoint")
	case opts.Endpoint == "" && opts.Password != "":
		return nil, errors.New("tailscale: a Password goes with an Endpoint")
	case opts.Endpoint != "":
		u, err := url.Parse(opts.Endpoint)
		if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
			u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
			return nil, errors.New("tailscale: the Endpoint is not http://host:port")
		}
		port := u.Port()
		if port == "" {
			port = "80"
		}
		network, address = "tcp", net.JoinHostPort(u.Hostname(), port)
	case opts.Socket == "":
		address = defaultSocket
	}
	var dialer net.Dialer
	return &LocalAPIProvider{opts, &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHead,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Name is [ProviderName].
func (*LocalAPIProvider) Name() string { return ProviderName }

// Resolve asks the daemon who is behind the connection's address, and what is
// granted to them at this service, or at the address that they have called.
func (p *LocalAPIProvider) Resolve(ctx context.Context, s *peer.Snapshot) peer.Result {
	source := s.Asserted
	if source == "" {
		source = s.Source
	}
	if source == "" {
		return peer.Result{Status: peer.NotApplicable}
	}
	query, target, err := question(source, s)
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	answer, status := p.ask(ctx, query)
	if status != peer.Available {
		return peer.Result{Status: status}
	}
	identity, err := whois(answer, target)
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	identity.Issuer, identity.Transport, identity.SourceAddr = p.opts.Issuer, s.Transport, source
	return peer.Result{Status: peer.Available, Identities: []peer.Identity{identity}}
}

var (
	errScope  = errors.New("tailscale: neither a service nor an address to be asked about")
	errAnswer = errors.New("tailscale: an answer of the daemon that is not of its form")
)

var serviceName = regexp.MustCompile(`^svc:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// question is what the daemon is asked, and whose capabilities it is about.
func question(source string, s *peer.Snapshot) (url.Values, map[string]any, error) {
	if _, err := netip.ParseAddrPort(source); err != nil {
		return nil, nil, errScope
	}
	query := url.Values{"addr": {source}, "proto": {"tcp"}}
	switch {
	case s.Service != "":
		if !serviceName.MatchString(s.Service) {
			return nil, nil, errScope
		}
		query.Set("svc_name", s.Service)
		return query, map[string]any{"kind": "service", "value": s.Service}, nil
	case s.Destination != "":
		at, err := netip.ParseAddrPort(s.Destination)
		if err != nil {
			return nil, nil, errScope
		}
		ip := at.Addr().Unmap().WithZone("").String()
		query.Set("dst_ip", ip)
		return query, map[string]any{"kind": "destination_ip", "value": ip}, nil
	}
	return query, map[string]any{"kind": "node"}, nil
}

// ask sends the question. The answer is nil unless the status is
// [peer.Available].
func (p *LocalAPIProvider) ask(ctx context.Context, query url.Values) (map[string]any, peer.Status) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+localHost+"/localapi/v0/whois?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, peer.Invalid
	}
	if p.opts.Password != "" {
		r.SetBasicAuth("", p.opts.Password)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, failed(err)
	}
	defer func() { _ = resp.Body.Close() }() // the answer is all that was wanted
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return nil, peer.PermissionDenied
	case code == http.StatusNotFound:
		return nil, peer.NoMatch
	case code >= 500:
		return nil, peer.Unavailable
	case code != http.StatusOK:
		return nil, peer.Invalid
	}
	kind := resp.Header["Content-Type"]
	if len(kind) != 1 || len(resp.Header["Content-Encoding"]) != 0 {
		return nil, peer.Invalid
	}
	if media, _, _ := strings.Cut(kind[0], ";"); !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return nil, peer.Invalid
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, failed(err)
	}
	object, err := peer.ParseObject(body)
	if err != nil {
		return nil, peer.Invalid
	}
	return object.Map(), peer.Available
}

// failed is the status of a question without an answer. What is no fault of the
// connection is one of the answer.
func failed(err error) peer.Status {
	if errors.Is(err, fs.ErrPermission) {
		return peer.PermissionDenied
	}
	_, network := errors.AsType[*net.OpError](err)
	timeout, ok := errors.AsType[net.Error](err)
	if network || (ok && timeout.Timeout()) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return peer.Unavailable
	}
	return peer.Invalid
}

// whois reads the daemon's answer.
func whois(answer, target map[string]any) (peer.Identity, error) {
	node, ok := answer["Node"].(map[string]any)
	if !ok {
		return peer.Identity{}, errAnswer
	}
	tags, err := readTags(node["Tags"])
	if err != nil {
		return peer.Identity{}, err
	}
	attributes := map[string]any{"tags": tags, "capability_target": target}
	stableID, err := optionalText(node["StableID"], attributes, "node_id")
	if err != nil {
		return peer.Identity{}, err
	}
	if _, err := optionalText(node["Name"], attributes, "node_name"); err != nil {
		return peer.Identity{}, err
	}
	out := peer.Identity{
		Provider: ProviderName, Source: "localapi", Assurance: peer.LocalDaemon,
		Stability: peer.Stable, Verified: true, CapabilitiesVerified: true,
	}
	if len(tags) > 0 {
		// A tagged node is nobody's, whatever profile comes with it.
		if stableID == "" {
			return peer.Identity{}, errAnswer
		}
		out.Kind, out.Subject = peer.TaggedNode, "node:"+stableID
	} else {
		id, err := readUser(answer["UserProfile"], attributes)
		if err != nil {
			return peer.Identity{}, err
		}
		out.Kind, out.Subject = peer.User, "user:"+id
	}
	if out.Capabilities, err = readCapabilities(answer["CapMap"]); err != nil {
		return peer.Identity{}, err
	}
	out.Attributes, err = peer.NewObject(attributes)
	return out, err
}

// optionalText puts a text that may be missing among the attributes.
func optionalText(v any, attributes map[string]any, name string) (string, error) {
	s, ok := v.(string)
	if !ok && v != nil {
		return "", errAnswer
	}
	if s != "" {
		attributes[name] = s
	}
	return s, nil
}

// readTags returns the tags in order, so that their sequence binds nothing.
func readTags(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, errAnswer
	}
	tags := make([]string, 0, len(list))
	for _, entry := range list {
		tag, ok := entry.(string)
		if !ok || !strings.HasPrefix(tag, "tag:") {
			return nil, errAnswer
		}
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	return tags, nil
}

// readUser returns the number of the account.
func readUser(v any, attributes map[string]any) (string, error) {
	profile, ok := v.(map[string]any)
	if !ok {
		return "", errAnswer
	}
	number, ok := profile["ID"].(json.Number)
	if !ok {
		return "", errAnswer
	}
	id, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || id <= 0 {
		return "", errAnswer
	}
	attributes["user_id"] = strconv.FormatInt(id, 10)
	for _, field := range [...][2]string{{"LoginName", "user_login"}, {"DisplayName", "user_display_name"}} {
		if _, err := optionalText(profile[field[0]], attributes, field[1]); err != nil {
			return "", err
		}
	}
	return strconv.FormatInt(id, 10), nil
}

// readCapabilities reads lists by the names of capabilities.
func readCapabilities(v any) (peer.Object, error) {
	members, ok := v.(map[string]any)
	if !ok && v != nil {
		return peer.Object{}, errAnswer
	}
	for _, entries := range members {
		if _, ok := entries.([]any); !ok {
			return peer.Object{}, errAnswer
		}
	}
	return peer.NewObject(members)
}
