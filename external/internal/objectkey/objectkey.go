// Package objectkey names what is stored. A name says where an object came from
// and the day on which it was named, and is otherwise random: nothing of a caller
// is in it.
package objectkey

import (
	"crypto/rand"
	"strings"
	"time"
)

// A Kind is who writes an object. It is the first part of a key, so that the
// lifecycle rules of a store can tell the two apart.
type Kind string

// The kinds.
const (
	Out Kind = "out" // written by this program
	In  Kind = "in"  // written by whoever was given a URL
)

const (
	day      = "2006-01-02"
	idLength = 26 // 130 random bits
)

// New returns a key such as "out/2026-11-21/kx3…".
func New(kind Kind, now time.Time) string {
	return string(kind) + "/" + now.UTC().Format(day) + "/" + strings.ToLower(rand.Text()[:idLength])
}

// Valid reports whether key is one that New could have made.
func Valid(key string) bool {
	kind, rest, _ := strings.Cut(key, "/")
	date, id, _ := strings.Cut(rest, "/")
	if (Kind(kind) != Out && Kind(kind) != In) || len(id) != idLength {
		return false
	}
	if t, err := time.Parse(day, date); err != nil || t.Format(day) != date {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
