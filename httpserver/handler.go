package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/cors"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/pages"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/session"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/unauthorized"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Handler serves a server's calls over HTTP. It is an http.Handler, to be mounted
// as it is or behind http.StripPrefix.
type Handler struct {
	server   *vgirpc.Server
	opts     Options
	log      *slog.Logger
	offload  vgirpc.Offload
	keys     *seal.KeyRing
	calls    *callCache // nil: off
	codings  *encoding.Codings
	pages    *pages.Pages      // nil: off
	json     *jsonGateway      // nil: off
	sessions *session.Registry // nil: off
	signIn   http.Handler      // nil: off
	uploads  vgirpc.Route      // of the method that hands out places
	refusals *unauthorized.Responder
	health   []byte

	capabilities []header // of every response
	echo         []header // of a response that opens a session
	root         http.Handler
	workspaces   workspaces
	inFlight     atomic.Int64
	stats        stats
	now          func() time.Time
	started      atomic.Bool
}

// header is a response header, its name in canonical form.
type header struct {
	name  string
	value []string
}

func newHeader(name, value string) header {
	return header{http.CanonicalHeaderKey(name), []string{value}}
}

// New returns a handler for server, which it seals: handlers are registered
// before. It fails when an option makes no sense, and when the state of a
// stream cannot be stored between two requests, naming the method and the
// field.
func New(server *vgirpc.Server, opts Options) (*Handler, error) {
	opts, err := withDefaults(opts)
	if err != nil {
		return nil, err
	}
	if err := servable(server); err != nil {
		return nil, err
	}
	h := &Handler{server: server, opts: opts, log: server.Logger(), offload: server.Offload(), keys: opts.Keys, now: time.Now}
	if h.keys == nil {
		h.keys = seal.RandomKeyRing()
		h.log.Warn("no token key is configured: a random one seals streams and sessions, " +
			"which end with this process and go on at no other")
	}
	if opts.CallCache > 0 {
		h.calls = newCallCache(opts.CallCache)
	}
	if h.codings, err = encoding.New(encoding.Options{NoResponse: opts.NoCompression, NoZstd: opts.NoZstd}); err != nil {
		return nil, fmt.Errorf("httpserver: %w", err)
	}
	if err := errors.Join(h.hostSignIn(), h.hostSessions(), h.hostPages(), h.hostUploads()); err != nil {
		return nil, err
	}
	if err := errors.Join(h.hostRefusals(), h.hostHealth()); err != nil {
		return nil, err
	}
	h.advertise()
	return h, h.route()
}

// nameOAuth is the segment of a path below which nobody has to say who he is
// (proxy-proof-spec section 2.3).
const nameOAuth = "_oauth"

// servable checks that every path leads to what it says, and that every stream
// can be stored.
func servable(server *vgirpc.Server) error {
	if err := server.Seal(); err != nil {
		return err
	}
	for _, p := range server.Protocols() {
		if p.Name() == nameOAuth {
			return fmt.Errorf("httpserver: a protocol cannot be called %s over HTTP: its paths are open to everybody", nameOAuth)
		}
		for _, m := range p.Methods() {
			if err := server.StateError(m); err != nil {
				return fmt.Errorf("httpserver: a stream must be storable between requests: %w", err)
			}
		}
	}
	return nil
}

// hostRefusals prepares the answers to callers who are not let in.
func (h *Handler) hostRefusals() (err error) {
	opts := unauthorized.Options{
		Challenge: h.opts.Challenge, Logger: h.log,
		ProxyHeaders: append(auth.ProxyHeaders(h.opts.Auth), h.opts.ProxyAuthHeaders...),
	}
	if h.pages != nil {
		opts.PageCSP = pages.CSP
		opts.Page = func(w io.Writer, v unauthorized.View) error {
			return h.pages.Unauthorized(w, string(v.Reason), v.Detail, v.Hint)
		}
	}
	if h.refusals, err = unauthorized.New(opts); err != nil {
		return fmt.Errorf("httpserver: %w", err)
	}
	return nil
}

// hostPages prepares what people and shells see.
func (h *Handler) hostPages() (err error) {
	if !h.opts.NoPages {
		h.pages, err = pages.New(pages.Options{
			Server: h.server, Version: h.server.Version(), Prefix: h.opts.Prefix,
			RepositoryURL: h.opts.RepositoryURL, TryIt: h.opts.JSON != nil, SignOutURL: h.signOut(),
		})
		if err != nil {
			return fmt.Errorf("httpserver: %w", err)
		}
	}
	if h.opts.JSON != nil {
		if h.json, err = newJSONGateway(h); err != nil {
			return fmt.Errorf("httpserver: %w", err)
		}
	}
	return nil
}

// advertise computes the capability headers (WIRE_PROTOCOL section 10).
func (h *Handler) advertise() {
	add := func(name, value string) { h.capabilities = append(h.capabilities, newHeader(name, value)) }
	number := func(name string, n int64) {
		if n > 0 {
			add(name, strconv.FormatInt(n, 10))
		}
	}
	add("VGI-Accept-Max-Response-Bytes-Support", "true")
	add("VGI-Externalization-Enabled", strconv.FormatBool(h.offload != nil))
	add("VGI-Supported-Encodings", h.codings.Advertised())
	number("VGI-Max-Request-Bytes", h.opts.MaxRequestBytes)
	number("VGI-Max-Response-Bytes", h.opts.MaxResponseBytes)
	number("VGI-Max-Externalized-Response-Bytes", h.opts.MaxExternalizedResponseBytes)
	if h.opts.Uploads != nil {
		add("VGI-Upload-URL-Support", "true")
		number("VGI-Max-Upload-Bytes", h.opts.Uploads.MaxUploadBytes())
	}
	if slices.Contains(auth.ProxyHeaders(h.opts.Auth), proof.Header) {
		add(proof.RequiredHeader, "true")
	}
	if h.sessions != nil {
		add("VGI-Sticky-Enabled", "true")
		number("VGI-Sticky-Default-TTL", int64(h.sessions.TTL().Seconds()))
		if names := echoNames(h.opts.Sticky.EchoHeaders); names != "" {
			add("VGI-Sticky-Echo-Headers", names)
		}
	}
}

// exposed are the headers that pages of other origins may read, beside those
// that CORS always exposes.
func (h *Handler) exposed() []string {
	names := []string{"VGI-Auth-Proxy-Required", "Retry-After"}
	for _, c := range h.capabilities {
		names = append(names, c.name)
	}
	if h.sessions != nil {
		names = append(names, "VGI-Session", "VGI-Session-Close")
		for _, e := range h.echo {
			names = append(names, e.name)
		}
	}
	return names
}

// route builds the router.
func (h *Handler) route() error {
	r := chi.NewRouter()
	r.NotFound(h.notFound)
	r.MethodNotAllowed(h.notFound) // calls are answered before the router
	p := h.opts.Prefix
	for _, verb := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		r.Method(verb, p+"/health", http.HandlerFunc(h.serveHealth))
	}
	if h.opts.Uploads != nil {
		r.Post(p+"/"+methodUploads+"/init", h.serveUploads)
	}
	if h.sessions != nil {
		r.Delete(p+"/__session__", h.serveTeardown)
	}
	if h.pages != nil {
		h.routePages(r)
	}
	h.root = h.addressLimited(h.metadataFirst(h.authenticated(h.callsFirst(h.watched(r, "")))))
	if h.opts.CORS == nil {
		h.root = h.signInFirst(h.root)
		return nil
	}
	allow, err := cors.New(cors.Options{Origins: h.opts.CORS.Origins, Expose: h.exposed()})
	if err != nil {
		return fmt.Errorf("httpserver: CORS: %w", err)
	}
	h.root = h.signInFirst(allow(h.root))
	return nil
}

func (h *Handler) routePages(r chi.Router) {
	p := h.opts.Prefix
	r.Get(p+"/", h.pages.Landing)
	if p != "" {
		r.Get(p, h.pages.Landing)
	}
	r.Get(p+"/describe", h.pages.Describe)
	r.Get(p+"/_assets/{name}", h.pages.Asset)
}

// Names of headers, in canonical form.
const (
	headerContentLength = "Content-Length"
	headerContentType   = "Content-Type"
	headerRequestID     = "X-Request-Id"
	headerRPCError      = "X-Vgi-Rpc-Error"
)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := w.Header()
	for i := range h.capabilities {
		out[h.capabilities[i].name] = h.capabilities[i].value
	}
	if id := r.Header[headerRequestID]; len(id) == 1 && vgirpc.UsableRequestID(id[0]) {
		out[headerRequestID] = id
	} else {
		out[headerRequestID] = []string{vgirpc.NewRequestID()}
	}
	h.root.ServeHTTP(w, r)
}

// identityKey finds the caller's identity in a request's context.
type identityKey struct{}

// authenticated lets through only whom Auth accepts.
func (h *Handler) authenticated(next http.Handler) http.Handler {
	if h.opts.Auth == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if unauthorized.Exempt(r, h.opts.Prefix) || h.isAsset(r) {
			next.ServeHTTP(w, r)
			return
		}
		began := h.begun()
		id, err := h.opts.Auth.Authenticate(r)
		if err != nil {
			h.refuseAuth(w, r, err, began)
			return
		}
		if h.overLimit(w, r, &id) || h.releases(w, r) {
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, &id)))
	})
}

// hostHealth prepares the answer to load balancers.
func (h *Handler) hostHealth() (err error) {
	h.health, err = json.Marshal(struct {
		Status   string `json:"status"`
		ServerID string `json:"server_id"`
		Protocol string `json:"protocol"`
	}{"ok", h.server.ID(), h.server.Protocols()[0].Name()})
	return err
}

// isAsset reports whether a request is for what the page of a 401 loads. It is
// the same for everybody, and holds nothing of the server's.
func (h *Handler) isAsset(r *http.Request) bool {
	if h.pages == nil || r.Method != http.MethodGet {
		return false
	}
	name, ok := strings.CutPrefix(r.URL.EscapedPath(), h.opts.Prefix+"/_assets/")
	return ok && !strings.ContainsAny(name, "/%\\")
}

// serveHealth answers load balancers, and clients that ask for capabilities. It
// says that the process lives, whatever its state.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request) {
	out := w.Header()
	out.Set(headerContentType, "application/json")
	if r.Method == http.MethodOptions {
		out.Set("Allow", "GET, HEAD, OPTIONS")
		out.Set("Cache-Control", "public, max-age=300")
		return
	}
	out.Set("Cache-Control", "no-store")
	out.Set(headerContentLength, strconv.Itoa(len(h.health)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(h.health) // the peer may be gone
	}
}

// notFound answers a path that leads nowhere.
func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && h.pages != nil {
		h.pages.NotFound(w, r)
		return
	}
	h.refuse(w, r, unknownPath())
}

func unknownPath() error {
	return &statusError{http.StatusNotFound, &vgirpc.Error{
		Code: vgirpc.Unimplemented, Kind: vgirpc.KindMethodNotImplemented, Type: "MethodNotImplementedError",
		Message: "no such path: calls go to {prefix}/{protocol}/{method}, /init and /exchange",
	}}
}
