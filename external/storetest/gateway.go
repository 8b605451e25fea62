package storetest

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
)

// A gateway stands between a reader and a real store.
type gateway struct {
	origin string // to allow
	url    string // of the object, by way of the gateway

	server *httptest.Server
	to     *url.URL
	next   chan behaviour // of the next requests, before usual
	usual  behaviour
	count  atomic.Int64
}

// A behaviour answers one request.
type behaviour func(g *gateway, w http.ResponseWriter, r *http.Request)

// newGateway starts a gateway in front of the store of an object.
func newGateway(t *testing.T, objectURL string, usual behaviour) *gateway {
	t.Helper()
	to, err := url.Parse(objectURL)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{to: to, usual: usual, next: make(chan behaviour, 16)}
	g.server = httptest.NewServer(g)
	t.Cleanup(g.server.Close)
	g.origin = g.server.URL
	through := *to
	through.Host, through.Scheme = g.server.Listener.Addr().String(), "http"
	g.url = through.String()
	return g
}

func (g *gateway) requests() int { return int(g.count.Load()) }

// ServeHTTP answers as the test has it.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.count.Add(1)
	select {
	case b := <-g.next:
		b(g, w, r)
	default:
		g.usual(g, w, r)
	}
}

// ask sends the request on, as if it had never been anywhere else: signatures
// are often over the host.
func (g *gateway) ask(r *http.Request) (*http.Response, error) {
	on := r.Clone(r.Context())
	on.RequestURI, on.URL.Scheme, on.URL.Host, on.Host = "", g.to.Scheme, g.to.Host, g.to.Host
	return plain.RoundTrip(on)
}

// pass answers with the first n bytes of what the store says, or all of it when n
// is negative.
func (g *gateway) pass(w http.ResponseWriter, r *http.Request, n int64) {
	resp, err := g.ask(r)
	if err != nil {
		abort()
	}
	defer func() { _ = resp.Body.Close() }()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if n < 0 {
		_, err = io.Copy(w, resp.Body)
	} else {
		_, err = io.CopyN(w, resp.Body, n)
	}
	if err != nil {
		abort()
	}
	_ = http.NewResponseController(w).Flush()
}

// forward is a gateway that works.
func forward(g *gateway, w http.ResponseWriter, r *http.Request) { g.pass(w, r, -1) }

// cutOff dies in the middle.
func cutOff(g *gateway, w http.ResponseWriter, r *http.Request) {
	g.pass(w, r, 1000)
	abort()
}

// stall says nothing more in the middle, until the reader has enough of it.
func stall(g *gateway, w http.ResponseWriter, r *http.Request) {
	g.pass(w, r, 1000)
	<-r.Context().Done()
	abort()
}

func outOfOrder(_ *gateway, w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
}

// abort ends the handler and the connection.
func abort() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // net/http has no other way
}

// hangUp says nothing at all.
func hangUp(*gateway, http.ResponseWriter, *http.Request) { abort() }

func redirectTo(to string) behaviour {
	return func(_ *gateway, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}
}
