package oauth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

// maxAddress bounds a place to return to, in bytes.
const maxAddress = 2048

// parseOrigin returns an origin in the form that browsers send: a scheme and a
// host, with a port where it is not the scheme's own.
func parseOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || strings.ContainsFunc(s, notInURL) || !strings.EqualFold(s, u.Scheme+"://"+u.Host):
		return "", fmt.Errorf("%q: want a scheme and a host, such as https://app.example", s)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%q: want https or http", s)
	}
	return origin(u), nil
}

// origin is the origin of an absolute URL.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// isLoopback reports whether a host, without a port and brackets, is this
// machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || (err == nil && ip.IsLoopback())
}

var errElsewhere = errors.New("not a place of this service")

// returnPath returns the path and query of a request target when they are a page
// of the service, to which a browser that has signed in may be sent. Nothing
// that any browser or router could read as another path is: it would be an open
// redirect.
func returnPath(target, prefix string) (string, error) {
	if len(target) > maxAddress || strings.ContainsFunc(target, notInURL) || strings.ContainsRune(target, '#') {
		return "", errElsewhere
	}
	at, _, _ := strings.Cut(target, "?")
	below, ok := strings.CutPrefix(at, prefix)
	if !ok || !strings.HasPrefix(at, "/") || (prefix != "" && below != "" && below[0] != '/') {
		return "", errElsewhere
	}
	// A page's path has no escapes: an escaped slash or dot is somebody's idea.
	if strings.ContainsRune(at, '%') || strings.Contains(at, "//") || (path.Clean(at) != at && path.Clean(at)+"/" != at) {
		return "", errElsewhere
	}
	if below == "/_oauth" || strings.HasPrefix(below, "/_oauth/") {
		return "", errElsewhere
	}
	return target, nil
}

// home is where a browser goes when there is nowhere else to return to.
func home(prefix string) string {
	if prefix == "" {
		return "/"
	}
	return prefix
}

// returnURL returns the URL of a page of an allowed origin, to which a token may
// be sent, and "" for any other. Its fragment may be a route of the page's: the
// parameters of [withFragment] follow it, and a page takes the first of a name, so
// that a fragment in which one could be already is left out.
func returnURL(s string, allowed map[string]bool) string {
	if s == "" || len(s) > maxAddress || strings.ContainsFunc(s, notInURL) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Opaque != "" || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	// What this side takes for the host must be what browsers take for it: the
	// text itself begins with the origin.
	prefix := u.Scheme + "://" + u.Host
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) || !allowed[origin(u)] {
		return ""
	}
	page, fragment, _ := strings.Cut(s, "#")
	if strings.ContainsAny(fragment, "=&;%") || slices.Contains(handedOver, fragment) {
		return page
	}
	return s
}
