package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// BearerToken is a static bearer token and whom it stands for.
type BearerToken struct {
	Token     string // visible ASCII, at least one character, no spaces
	Principal string // must not be empty
	Domain    string // "bearer" when empty
	Claims    map[string]any
}

// String names the principal and never the token.
func (t BearerToken) String() string { return "bearer token of " + t.Principal }

// GoString is String, so that %#v shows no token either.
func (t BearerToken) GoString() string { return t.String() }

// BearerOptions configure [NewBearer].
type BearerOptions struct {
	// Tokens are valid for as long as the process lives.
	Tokens []BearerToken
	// File names a file of further tokens, one `token principal [domain]` on a
	// line, fields separated by blanks; empty lines and lines that begin with #
	// are skipped. It is read again when it changes. A file that cannot be read,
	// holds a bad line or no token at all is an error at first; later it is
	// logged, and the tokens read before stay valid.
	File string
	// Poll is how often a request may look whether File has changed: 5 s when
	// zero, never when negative; [Bearer.Reload] always reads it.
	Poll time.Duration
	// Logger hears of the file: reloads, failures, and a mode that lets others
	// read it. Nothing is logged when nil. Tokens never are.
	Logger *slog.Logger
}

// Bearer accepts static bearer tokens: an Authorization header with the scheme
// Bearer in any case (RFC 6750 section 2.1).
//
// The token itself is the secret, so every token is compared, by its SHA-256 and
// in constant time: neither how much of one matches, nor its length, nor its
// place in the list shows in the time an answer takes.
type Bearer struct {
	opts   BearerOptions
	static []bearerEntry
	table  atomic.Pointer[[]bearerEntry]

	started  time.Time
	nextPoll atomic.Int64 // nanoseconds since started

	reload    sync.Mutex // guards what follows
	read      fileStamp
	lastFault string // so that a file that stays broken is logged once
}

type bearerEntry struct {
	digest   [sha256.Size]byte
	identity vgirpc.Identity
}

const (
	defaultPoll         = 5 * time.Second
	defaultBearerDomain = "bearer"
)

// NewBearer returns an authenticator for static bearer tokens. It is an error
// when there are no tokens at all, when a token or a principal is empty or holds
// what a header cannot carry, when a token appears twice, and when the file
// cannot be read.
func NewBearer(opts BearerOptions) (*Bearer, error) {
	if opts.Poll == 0 {
		opts.Poll = defaultPoll
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if len(opts.Tokens) == 0 && opts.File == "" {
		return nil, errors.New("auth: bearer: neither tokens nor a file of them")
	}
	b := &Bearer{opts: opts, started: time.Now()}
	for i, t := range opts.Tokens {
		e, err := entryOf(t)
		if err != nil {
			return nil, fmt.Errorf("auth: bearer: token %d: %w", i, err)
		}
		b.static = append(b.static, e)
	}
	b.opts.Tokens = nil // only digests are kept
	if err := checkDistinct(b.static); err != nil {
		return nil, fmt.Errorf("auth: bearer: %w", err)
	}
	if opts.File == "" {
		b.table.Store(&b.static)
		return b, nil
	}
	if err := b.Reload(); err != nil {
		return nil, err
	}
	b.nextPoll.Store(int64(opts.Poll))
	return b, nil
}

// entryOf checks a token and keeps its digest. Its errors never hold the token.
func entryOf(t BearerToken) (bearerEntry, error) {
	switch {
	case t.Token == "":
		return bearerEntry{}, errors.New("it is empty")
	case strings.ContainsFunc(t.Token, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return bearerEntry{}, errors.New("it holds a character that is not visible ASCII")
	case t.Principal == "":
		return bearerEntry{}, errors.New("it has no principal")
	}
	if t.Domain == "" {
		t.Domain = defaultBearerDomain
	}
	return bearerEntry{
		digest:   sha256.Sum256([]byte(t.Token)),
		identity: vgirpc.Identity{Principal: t.Principal, Domain: t.Domain, Authenticated: true, Claims: t.Claims}.Clone(),
	}, nil
}

// checkDistinct refuses a token that stands for two principals, or twice.
func checkDistinct(entries []bearerEntry) error {
	seen := make(map[[sha256.Size]byte]string, len(entries))
	for _, e := range entries {
		if other, twice := seen[e.digest]; twice {
			return fmt.Errorf("one token stands for both %q and %q", other, e.identity.Principal)
		}
		seen[e.digest] = e.identity.Principal
	}
	return nil
}

// Authenticate names the principal of the request's bearer token. It fails with
// [MissingCredential] without an Authorization header and with
// [InvalidCredential] for more than one, another scheme, or an unknown token.
func (b *Bearer) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	if b.opts.File != "" && b.opts.Poll > 0 {
		b.pollFile()
	}
	token, err := TokenOf(r)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	var buf [256]byte // a longer token costs an allocation, not an error
	digest := sha256.Sum256(append(buf[:0], token...))
	entries := *b.table.Load()
	found := -1
	for i := range entries {
		equal := subtle.ConstantTimeCompare(digest[:], entries[i].digest[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return vgirpc.Identity{}, &Failure{Reason: InvalidCredential, Err: errors.New("unknown bearer token")}
	}
	return entries[found].identity.Clone(), nil
}

// TokenOf is the token of the request's one Authorization header (RFC 6750
// section 2.1), for authenticators that read it in their own way. The error is a
// [*Failure]. Bytes that no token has are refused: they could make one kind of
// token look like another.
func TokenOf(r *http.Request) (string, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 || (len(values) == 1 && values[0] == "") {
		return "", &Failure{Reason: MissingCredential, Err: errors.New("no Authorization header")}
	}
	if len(values) > 1 {
		return "", &Failure{Reason: InvalidCredential, Err: errors.New("more than one Authorization header")}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", &Failure{Reason: InvalidCredential, Err: errors.New("the Authorization header's scheme is not Bearer")}
	case token == "":
		return "", &Failure{Reason: InvalidCredential, Err: errors.New("an empty bearer token")}
	case strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "", &Failure{Reason: InvalidCredential, Err: errors.New("a bearer token is visible ASCII")}
	}
	return token, nil
}
