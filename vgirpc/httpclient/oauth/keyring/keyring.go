// Package keyring keeps OAuth logins in the system's keyring: Keychain on macOS,
// the Credential Manager on Windows, the Secret Service elsewhere.
//
// Beside the keyring it needs a private directory, for locks and for a note that
// there is a login: a server without one costs no question to the keyring, which
// may ask the person.
package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/zalando/go-keyring"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

// Limits of keyrings: Windows takes 2,560 bytes in one item, macOS 4,096 with all
// that belongs to it, of which base64 takes a third.
const (
	pieceSize = 1800
	maxPieces = 64
)

// Options configure a [Store].
type Options struct {
	// Service is the name under which the items appear; "" is vgi-rpc.
	Service string
	// Fallback keeps logins in the directory's files where there is no keyring.
	Fallback bool
}

// A Store keeps records in the system's keyring.
type Store struct {
	files   *oauth.FileStore
	service string
	opts    Options
}

// New returns a store with a directory, as [oauth.NewFileStore] wants it.
func New(dir string, opts Options) (*Store, error) {
	files, err := oauth.NewFileStore(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{files: files, service: opts.Service, opts: opts}
	if s.service == "" {
		s.service = "vgi-rpc"
	}
	return s, nil
}

// Close lets go of the directory.
func (s *Store) Close() error { return s.files.Close() }

// Lock implements [oauth.Store].
func (s *Store) Lock(ctx context.Context, key oauth.Key) (func(), error) {
	return s.files.Lock(ctx, key)
}

// user is the name of a piece of a record.
func user(key oauth.Key, piece int) string {
	words := []string{key.Resource, key.Issuer, key.Client, "#" + strconv.Itoa(piece)}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// Load implements [oauth.Store].
func (s *Store) Load(ctx context.Context, key oauth.Key) (*oauth.Record, error) {
	note, err := s.files.Load(ctx, key)
	if err != nil || note.AccessToken != "" || note.IDToken != "" {
		return note, err // a file that stands in for the keyring has it all
	}
	var data strings.Builder
	for piece, count, id := 0, 1, ""; piece < count; piece++ {
		item, err := keyring.Get(s.service, user(key, piece))
		if errors.Is(err, keyring.ErrNotFound) && piece == 0 {
			return nil, oauth.ErrNoRecord // somebody removed it by hand
		}
		if err != nil {
			return nil, failed(key, "read", err)
		}
		head, rest, _ := strings.Cut(item, "\n")
		gotID, number, _ := strings.Cut(head, " ")
		if piece == 0 {
			id = gotID
			if count, err = strconv.Atoi(number); err != nil || count < 1 || count > maxPieces {
				return nil, torn(key)
			}
		}
		if gotID != id {
			return nil, torn(key)
		}
		data.WriteString(rest)
	}
	return oauth.Decode(key, []byte(data.String()))
}

func torn(key oauth.Key) error {
	return vgirpc.Errorf(vgirpc.DataLoss, "keyring: the stored login of %s is not whole: log in again", key.Resource)
}

// failed is the error of a keyring, which says nothing of what was to be stored.
func failed(key oauth.Key, what string, err error) error {
	return vgirpc.Errorf(vgirpc.FailedPrecondition, "keyring: cannot %s the login of %s: %w", what, key.Resource, err)
}

// Save implements [oauth.Store]. The keyring gets the whole record; the directory
// a note without a secret.
func (s *Store) Save(ctx context.Context, key oauth.Key, r *oauth.Record) error {
	err := s.set(key, r)
	switch {
	case err == nil:
		return s.files.Save(ctx, key, &oauth.Record{
			Issuer: r.Issuer, ClientID: r.ClientID, Expiry: r.Expiry, Obtained: r.Obtained,
		})
	case s.opts.Fallback:
		_ = s.clear(key) // what an earlier login left; Delete tries again
		return s.files.Save(ctx, key, r)
	}
	return err
}

// set writes the pieces of a record. They carry the same random id, so that those
// of two records are never put together.
func (s *Store) set(key oauth.Key, r *oauth.Record) error {
	data, err := oauth.Encode(key, r)
	if err != nil {
		return err
	}
	count := (len(data) + pieceSize - 1) / pieceSize
	if count > maxPieces {
		return vgirpc.Errorf(vgirpc.ResourceExhausted, "keyring: a login of %d bytes: at most %d can be stored", len(data), maxPieces*pieceSize)
	}
	head := rand.Text() + " " + strconv.Itoa(count) + "\n"
	for piece := range count {
		part := data[piece*pieceSize : min((piece+1)*pieceSize, len(data))]
		if err := keyring.Set(s.service, user(key, piece), head+string(part)); err != nil {
			return failed(key, "store", err)
		}
	}
	return s.trim(key, count)
}

// trim removes the pieces from a number on, up to the first that is missing.
func (s *Store) trim(key oauth.Key, from int) error {
	for piece := from; piece < maxPieces; piece++ {
		err := keyring.Delete(s.service, user(key, piece))
		if errors.Is(err, keyring.ErrNotFound) {
			return nil
		}
		if err != nil {
			return failed(key, "remove", err)
		}
	}
	return nil
}

// clear removes every piece that there could be: a removal that failed, or a hand,
// may have left some behind a gap.
func (s *Store) clear(key oauth.Key) error {
	for piece := range maxPieces {
		if err := keyring.Delete(s.service, user(key, piece)); err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return failed(key, "remove", err)
		}
	}
	return nil
}

// Delete implements [oauth.Store].
func (s *Store) Delete(ctx context.Context, key oauth.Key) error {
	note, err := s.files.Load(ctx, key)
	if errors.Is(err, oauth.ErrNoRecord) {
		return nil
	}
	whole := err == nil && (note.AccessToken != "" || note.IDToken != "")
	// Behind a file that has it all there is what the keyring held before it failed,
	// or no keyring.
	if err := s.clear(key); err != nil && !whole {
		return err
	}
	return s.files.Delete(ctx, key)
}
