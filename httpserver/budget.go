package httpserver

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Headers of the response's bounds, in canonical form (http-response-budgets).
const headerResponseLimit = "Vgi-Accept-Max-Response-Bytes"

// clientLimit reads the bound that a client sets for the response, 0 without
// one.
func clientLimit(h http.Header) (int64, error) {
	values := h[headerResponseLimit]
	switch len(values) {
	case 0:
		return 0, nil
	case 1:
		if n, ok := parseLimit(values[0]); ok {
			return n, nil
		}
	}
	return 0, &vgirpc.Error{
		Code: vgirpc.InvalidArgument, Type: "ProtocolError",
		Message: fmt.Sprintf("VGI-Accept-Max-Response-Bytes %.64q: want one number from %d to %d, in digits alone",
			values, minResponseLimit, maxResponseLimit),
	}
}

// parseLimit reads a number in the grammar [1-9][0-9]*, within its range.
func parseLimit(s string) (int64, bool) {
	if s == "" || len(s) > 16 || s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= minResponseLimit && n <= maxResponseLimit
}

// budget is what one response may have, given the client's own limit and the
// one that the stream was opened with; 0 is none.
func (h *Handler) budget(client, sealed int64) vgirpc.ResponseBudget {
	limit := smaller(smaller(h.opts.MaxResponseBytes, client), sealed)
	return vgirpc.ResponseBudget{
		Limit: limit, Preferred: smaller(h.opts.PreferredResponseBytes, limit),
		Externalized: h.opts.MaxExternalizedResponseBytes, Externalizing: h.offload != nil,
	}
}

// tooLarge is the error in the place of a response that exceeds its limit. It
// has no cursor: nobody advances from a result that was not accepted.
func tooLarge(got, limit int64, method string) *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.ResourceExhausted, Type: "ResponseTooLargeError",
		Message: fmt.Sprintf("HTTP body exceeds max_response_bytes (%d > %d) for method '%s'", got, limit, method),
	}
}
