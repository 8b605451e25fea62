package balance

import "crypto/sha256"

// sessions remembers which endpoint opened a sticky session, for the sessions
// that were used last. It keeps hashes: a token is a credential, and of any
// length. It is two generations: when the young one is full it becomes the old
// one, and what was not used since is forgotten with the one before.
type sessions struct {
	size        int // of one generation
	young, aged map[[sha256.Size]byte]*endpoint
}

func newSessions(size int) *sessions {
	return &sessions{size: max(size/2, 1), young: map[[sha256.Size]byte]*endpoint{}}
}

func key(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// find returns the endpoint of a session, or nil.
func (s *sessions) find(token string) *endpoint {
	k := key(token)
	if e := s.young[k]; e != nil {
		return e
	}
	e := s.aged[k]
	if e != nil {
		s.put(k, e)
	}
	return e
}

// add remembers a session.
func (s *sessions) add(token string, e *endpoint) { s.put(key(token), e) }

func (s *sessions) put(k [sha256.Size]byte, e *endpoint) {
	if len(s.young) >= s.size && s.young[k] == nil {
		s.young, s.aged = make(map[[sha256.Size]byte]*endpoint), s.young
	}
	s.young[k] = e
}

// forget drops a session.
func (s *sessions) forget(token string) {
	k := key(token)
	delete(s.young, k)
	delete(s.aged, k)
}
