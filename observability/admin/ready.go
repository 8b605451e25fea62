package admin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// fresh is how long the result of the checks is good for.
const fresh = time.Second

// readiness asks the checks, not more often than it has to.
type readiness struct {
	checks  func(context.Context) []Check
	timeout time.Duration

	mu      sync.Mutex
	results []Check
	at      time.Time     // of results, zero without any
	running chan struct{} // closed when the checks are done, nil while nobody asks
	since   time.Time
}

// get returns results that are fresh, or why there are none.
func (r *readiness) get(ctx context.Context) []Check {
	if r.checks == nil {
		return nil
	}
	r.mu.Lock()
	if !r.at.IsZero() && time.Since(r.at) < fresh {
		defer r.mu.Unlock()
		return r.results
	}
	if r.running == nil {
		r.running, r.since = make(chan struct{}), time.Now()
		go r.ask(r.running) //nolint:gosec // not on behalf of one request
	}
	running, left := r.running, r.timeout-time.Since(r.since)
	r.mu.Unlock()
	if left <= 0 {
		return r.late()
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-running:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.results
	case <-timer.C:
		return r.late()
	case <-ctx.Done():
		return r.late()
	}
}

func (r *readiness) late() []Check {
	return []Check{{"checks", fmt.Errorf("no answer within %v", r.timeout)}}
}

// ask asks the checks once. It does not hang on who wants to know: that may go
// away, and the next one wants to know the same.
func (r *readiness) ask(done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	results := r.all(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results, r.at, r.running = results, time.Now(), nil
}

// all asks the checks. One that panics is not there.
func (r *readiness) all(ctx context.Context) (results []Check) {
	defer func() {
		if p := recover(); p != nil {
			results = []Check{{"checks", fmt.Errorf("one panicked: %v", p)}}
		}
	}()
	return r.checks(ctx)
}

// verbose reports whether the reasons are wanted.
func verbose(r *http.Request) bool { return r.URL.Query().Has("verbose") }

// checkView is a check in JSON.
type checkView struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// readyView is the readiness in JSON.
type readyView struct {
	Ready  bool        `json:"ready"`
	Checks []checkView `json:"checks"`
}

// serveReady says whether calls should be sent.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	var all []Check
	if s.opts.State != nil {
		all = append(all, Check{"state", s.opts.State()})
	}
	all = append(all, s.ready.get(r.Context())...)
	status, views := http.StatusOK, []checkView{}
	for _, c := range all {
		v := checkView{Name: c.Name, OK: c.Err == nil}
		if c.Err != nil {
			status, v.Error = http.StatusServiceUnavailable, c.Err.Error()
		}
		views = append(views, v)
	}
	if verbose(r) {
		writeJSON(w, status, readyView{status == http.StatusOK, views})
		return
	}
	if status == http.StatusOK {
		text(w, status, "ready")
	} else {
		text(w, status, "not ready")
	}
}
