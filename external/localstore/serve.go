package localstore

import (
	"crypto/subtle"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// contentType is that of every object.
const contentType = "application/vnd.apache.arrow.stream"

// How slow a peer may be: a transfer has this long, and a second more for every
// minRate bytes.
const (
	patience = 30 * time.Second
	minRate  = 64 << 10
)

// maxConns is how many connections the listener of Start has at once.
const maxConns = 1024

// errAnyAddress: such URLs would lead each client to its own machine.
var errAnyAddress = errors.New("localstore: option BaseURL (--storage-base-url) is missing: " +
	"the store listens on all addresses, and none of them is where others reach it; set it, or listen on one address")

// Start returns a Store that serves itself at an address such as "127.0.0.1:0",
// until it is closed. It fails when that is every address of the machine, such as
// ":8080", and Options.BaseURL does not say at which one others reach it.
func Start(address string, opts Options) (*Store, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // a look-up of the operator's own address
	if err != nil {
		return nil, err
	}
	if opts.BaseURL == "" {
		if from, ok := l.Addr().(*net.TCPAddr); ok && from.IP.IsUnspecified() {
			return nil, errors.Join(errAnyAddress, l.Close())
		}
		opts.BaseURL = "http://" + l.Addr().String()
	}
	s, err := New(opts)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.Serve(l)
	return s, nil
}

// Serve serves the Store on a listener, which must be its own, until it is closed.
// It returns at once, and is called at most once, before anything else.
func (s *Store) Serve(l net.Listener) {
	s.server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
	}
	s.owned.Go(func() {
		err := s.server.Serve(netutil.LimitListener(l, maxConns))
		if !errors.Is(err, http.ErrServerClosed) {
			s.opts.Logger.Error("local storage is no longer served", "error", err)
		}
	})
}

// ServeHTTP serves sealed URLs. The path may have anything in front of the key.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-store, no-transform")
	if r.Method != http.MethodGet && r.Method != http.MethodPut {
		h.Set("Allow", "GET, PUT")
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	key := keyOf(r.URL.Path)
	if key == "" || !s.allows(r, key) {
		refuse(w, http.StatusForbidden)
		return
	}
	if r.Method == http.MethodPut {
		s.put(w, r, key)
		return
	}
	s.get(w, r, key)
}

// refuse answers with a status and its name: there is nothing else to tell.
func refuse(w http.ResponseWriter, status int) {
	http.Error(w, http.StatusText(status), status)
}

// allows reports whether the URL was sealed here for this method, and is not over.
func (s *Store) allows(r *http.Request, key string) bool {
	q := r.URL.Query()
	if len(q) != 2 || len(q[paramExpires]) != 1 || len(q[paramSeal]) != 1 {
		return false
	}
	expires, err := strconv.ParseInt(q[paramExpires][0], 10, 64)
	if err != nil || subtle.ConstantTimeCompare([]byte(s.seal(r.Method, key, expires)), []byte(q[paramSeal][0])) != 1 {
		return false
	}
	return time.Now().Unix() < expires
}

func (s *Store) get(w http.ResponseWriter, r *http.Request, key string) {
	object, err := s.shelf.open(key)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer func() { _ = object.Close() }()
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", "attachment")
	if object.encoding != "" {
		h.Set("Content-Encoding", object.encoding)
		h.Set("Content-Length", strconv.FormatInt(object.size, 10)) // ServeContent leaves it out then
	}
	// An object never changes, and its key is never used again.
	h.Set("ETag", `"`+key[len(key)-26:]+`"`)
	_ = http.NewResponseController(w).SetWriteDeadline(deadline(object.size)) // where the server has one
	http.ServeContent(w, r, "", time.Time{}, object)
}

func (s *Store) put(w http.ResponseWriter, r *http.Request, key string) {
	h := r.Header
	encoding := strings.ToLower(strings.Join(h.Values("Content-Encoding"), ","))
	if encoding == "identity" {
		encoding = ""
	}
	_, known := suffixes[encoding]
	if !known || len(h.Values("Content-Type")) != 1 || h.Get("Content-Type") != contentType {
		refuse(w, http.StatusUnsupportedMediaType)
		return
	}
	limit := s.opts.MaxUploadBytes
	if r.ContentLength > limit {
		refuse(w, http.StatusRequestEntityTooLarge)
		return
	}
	object, err := s.create(key)
	if err != nil {
		s.fail(w, err)
		return
	}
	expected := r.ContentLength
	if expected < 0 {
		expected = limit
	}
	_ = http.NewResponseController(w).SetReadDeadline(deadline(expected)) // where the server has one
	body := &peer{r: http.MaxBytesReader(w, r.Body, limit)}
	if _, err = io.Copy(object, body); err != nil {
		object.abort()
		if body.err != nil {
			refuseBody(w, body.err)
			return
		}
		s.fail(w, err)
		return
	}
	if err := object.commit(encoding); err != nil {
		s.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// deadline is when a transfer of n bytes has to be over.
func deadline(n int64) time.Time {
	return time.Now().Add(patience + time.Duration(n/minRate)*time.Second)
}

// A peer is the other side's bytes. It keeps the error that ended them.
type peer struct {
	r   io.Reader
	err error
}

// Read notes an error.
func (p *peer) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

// refuseBody answers for an error of the peer.
func refuseBody(w http.ResponseWriter, err error) {
	if errors.As(err, new(*http.MaxBytesError)) {
		refuse(w, http.StatusRequestEntityTooLarge)
		return
	}
	refuse(w, http.StatusBadRequest) // for whoever still listens
}

// fail answers for an error of storage.
func (s *Store) fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound)
	case errors.Is(err, fs.ErrExist):
		refuse(w, http.StatusConflict)
	case errors.Is(err, ErrFull):
		refuse(w, http.StatusInsufficientStorage)
	default:
		s.opts.Logger.Error("local storage failed", "error", err)
		refuse(w, http.StatusInternalServerError)
	}
}
