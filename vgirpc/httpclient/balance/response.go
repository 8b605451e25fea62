package balance

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// gateways reports whether a status is one by which a gateway says that there is
// nobody behind it.
func gateways(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// fromServer reports whether a response is the server's own, and not that of a
// gateway in front of it: it is Arrow, or says what every response of a server
// says (http-response-budgets.md).
func fromServer(h http.Header) bool {
	return strings.HasPrefix(first(h, headerContentType), contentTypeArrow) || first(h, headerLimitSupport) == "true"
}

// retryAfter is how long a response asks to wait, in seconds or until a date; 0
// where it does not.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := first(h, headerRetryAfter)
	if s, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// first is the first value of a header by its canonical name, or "".
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
