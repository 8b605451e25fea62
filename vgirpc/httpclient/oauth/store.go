package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ErrNoRecord is what a [Store] answers for a key under which it has nothing.
var ErrNoRecord = errors.New("oauth: nothing is stored for this server")

// A Store keeps what a login has brought. All methods may be called at once, by
// other processes too.
type Store interface {
	// Load returns the record of a key, or [ErrNoRecord].
	Load(ctx context.Context, key Key) (*Record, error)
	// Save replaces the record of a key, entirely or not at all.
	Save(ctx context.Context, key Key, r *Record) error
	// Delete removes the record of a key; there need not be one.
	Delete(ctx context.Context, key Key) error
	// Lock waits until nobody else holds the lock of the key. It is held while a
	// token is refreshed, so that a refresh token that is good for one use is not
	// used twice.
	Lock(ctx context.Context, key Key) (unlock func(), err error)
}

// A Key says whose tokens they are. Issuer and Client are those that [Options]
// pin, and "" where the server names them: the record says which they were, and
// it is dropped when the server names others.
type Key struct {
	// Resource is the URL of the server, without a slash at its end.
	Resource string `json:"resource"`
	Issuer   string `json:"issuer,omitempty"`
	Client   string `json:"client,omitempty"`
}

// A Record is what a login has brought, and what it takes to refresh it. It
// prints and logs without its secrets.
type Record struct {
	Issuer             string `json:"issuer"`
	ClientID           string `json:"client_id"`
	ClientSecret       string `json:"client_secret,omitempty"` // the server's, who publishes it
	TokenEndpoint      string `json:"token_endpoint"`
	RevocationEndpoint string `json:"revocation_endpoint,omitempty"`
	Scope              string `json:"scope,omitempty"`
	AccessToken        string `json:"access_token"`
	RefreshToken       string `json:"refresh_token,omitempty"`
	IDToken            string `json:"id_token,omitempty"`
	// UseIDToken makes the ID token the bearer, where there is one.
	UseIDToken bool `json:"use_id_token,omitempty"`
	// Expiry is when the bearer ends; zero when the issuer did not say.
	Expiry time.Time `json:"expiry,omitzero"`
	// Obtained is when the tokens came.
	Obtained time.Time `json:"obtained"`
	// Pinned is what the options of the login said of the server.
	Pinned Pinned `json:"pinned,omitzero"`
}

// Pinned is what the [Options] of a login said, and not the server. It counts as
// long as the login lasts, for clients without such options too: what the server
// says of itself is compared with it when a token is refused.
type Pinned struct {
	// Issuer and Client say that the record's issuer and client are those that the
	// options named.
	Issuer bool `json:"issuer,omitempty"`
	Client bool `json:"client,omitempty"`
	// Resource is Options.Resource.
	Resource string `json:"resource,omitempty"`
}

// bearer is what to send; "" without a record.
func (r *Record) bearer() string {
	switch {
	case r == nil:
		return ""
	case r.UseIDToken && r.IDToken != "":
		return r.IDToken
	}
	return r.AccessToken
}

// valid reports whether the bearer can be sent now.
func (r *Record) valid(now time.Time) bool {
	return r.bearer() != "" && (r.Expiry.IsZero() || now.Before(r.Expiry))
}

// fresh reports whether the bearer needs no refresh yet: there are 45 seconds
// left, or half of a life that is shorter than twice that.
func (r *Record) fresh(now time.Time) bool {
	if !r.valid(now) || r.Expiry.IsZero() {
		return r.valid(now)
	}
	return now.Add(min(refreshAhead, r.Expiry.Sub(r.Obtained)/2)).Before(r.Expiry)
}

// Format prints the record without its secrets, whatever the verb.
func (r *Record) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, r.LogValue().String()) }

// LogValue is the record without its secrets.
func (r *Record) LogValue() slog.Value {
	if r == nil {
		return slog.StringValue("none")
	}
	return slog.GroupValue(
		slog.String("issuer", r.Issuer), slog.String("client", r.ClientID),
		slog.Bool("refreshable", r.RefreshToken != ""), slog.Time("expiry", r.Expiry),
	)
}

// entry is a record as stores write it.
type entry struct {
	Version int     `json:"version"`
	Key     Key     `json:"key"`
	Record  *Record `json:"record"`
}

const entryVersion = 1

// Encode is a record as bytes that [Decode] reads, for those who write stores.
func Encode(key Key, r *Record) ([]byte, error) {
	data, err := json.Marshal(entry{Version: entryVersion, Key: key, Record: r})
	if err != nil {
		return nil, errors.New("oauth: the record cannot be encoded") // the cause might quote it
	}
	return data, nil
}

// Decode reads what [Encode] made for the same key.
func Decode(key Key, data []byte) (*Record, error) {
	var e entry
	switch err := json.Unmarshal(data, &e); {
	case err != nil || e.Record == nil:
		return nil, vgirpc.Errorf(vgirpc.DataLoss, "oauth: the stored login of %s cannot be read: log in again", key.Resource)
	case e.Version != entryVersion:
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the stored login of %s has version %d, and this reads %d: log in again",
			key.Resource, e.Version, entryVersion)
	case e.Key != key:
		return nil, vgirpc.Errorf(vgirpc.DataLoss, "oauth: the stored login of %s is another one's: log in again", key.Resource)
	}
	return e.Record, nil
}

// memoryStore keeps records for one process.
type memoryStore struct {
	mu      sync.Mutex
	records map[Key]Record
	locks   map[Key]chan struct{}
}

// NewMemoryStore returns a store that ends with the process.
func NewMemoryStore() Store {
	return &memoryStore{records: map[Key]Record{}, locks: map[Key]chan struct{}{}}
}

func (s *memoryStore) Load(_ context.Context, key Key) (*Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[key]
	if !ok {
		return nil, ErrNoRecord
	}
	return &r, nil
}

func (s *memoryStore) Save(_ context.Context, key Key, r *Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[key] = *r
	return nil
}

func (s *memoryStore) Delete(_ context.Context, key Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, key)
	return nil
}

func (s *memoryStore) Lock(ctx context.Context, key Key) (func(), error) {
	s.mu.Lock()
	lock := s.locks[key]
	if lock == nil {
		lock = make(chan struct{}, 1)
		s.locks[key] = lock
	}
	s.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, vgirpc.ContextError(ctx)
	}
}
