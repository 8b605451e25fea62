package vgitest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Direction is one of the two directions of a connection, as the holder of the
// faulty end sees it.
type Direction int

// The two directions.
const (
	Reads Direction = iota
	Writes
)

// String is the direction in the name of a test.
func (d Direction) String() string {
	if d == Reads {
		return "reading"
	}
	return "writing"
}

// A Fault is something that goes wrong with a connection at a point that is
// known to the byte. The zero Fault does nothing.
type Fault struct {
	what  action
	dir   Direction
	at    int64 // bytes that pass before
	mask  byte
	size  int
	delay time.Duration
	err   error
	probe *Probe
}

type action int

const (
	nothing action = iota
	cut
	stall
	fail
	corrupt
	slow
	slowClose
	watch
)

// Cut loses the connection as soon as so many bytes have passed in direction d,
// as when the process at the other end is killed: it is closed underneath, from
// then on reads give io.EOF and writes io.ErrClosedPipe. After 0 bytes there
// never was a connection.
func Cut(d Direction, after int64) Fault { return Fault{what: cut, dir: d, at: after} }

// Stall lets so many bytes pass in direction d. What would move the next one
// waits until the connection is closed.
func Stall(d Direction, after int64) Fault { return Fault{what: stall, dir: d, at: after} }

// Fail lets so many bytes pass in direction d. What would move the next one
// gets err; the connection stays open.
func Fail(d Direction, after int64, err error) Fault {
	return Fault{what: fail, dir: d, at: after, err: err}
}

// Corrupt turns the bits of mask around in one byte, the first one being 0.
func Corrupt(d Direction, at int64, mask byte) Fault {
	return Fault{what: corrupt, dir: d, at: at, mask: mask}
}

// Slow moves at most size bytes at a time, in both directions, and waits for
// delay before each time. In a bubble of testing/synctest that costs no time.
func Slow(size int, delay time.Duration) Fault {
	return Fault{what: slow, size: max(size, 1), delay: delay}
}

// SlowClose makes the first Close take so long before it returns. The
// connection is closed at its beginning.
func SlowClose(delay time.Duration) Fault { return Fault{what: slowClose, delay: delay} }

// Watch tells p what passes. A connection is watched by one probe, and a probe
// watches one connection.
func Watch(p *Probe) Fault { return Fault{what: watch, probe: p} }

// String says what happens, for the name of a test.
func (f Fault) String() string {
	switch f.what {
	case cut:
		return fmt.Sprintf("cut after %s %d bytes", f.dir, f.at)
	case stall:
		return fmt.Sprintf("stalled after %s %d bytes", f.dir, f.at)
	case fail:
		return fmt.Sprintf("%v after %s %d bytes", f.err, f.dir, f.at)
	case corrupt:
		return fmt.Sprintf("byte %d wrong by %#02x when %s", f.at, f.mask, f.dir)
	case slow:
		return fmt.Sprintf("%d bytes every %v", f.size, f.delay)
	case slowClose:
		return fmt.Sprintf("closed within %v", f.delay)
	default:
		return "no fault"
	}
}

// A Probe sees a connection from outside. It may be asked at any time.
type Probe struct {
	moved  [2]atomic.Int64
	closed atomic.Bool
	conn   atomic.Pointer[faulty]
}

// Moved is how many bytes have passed in direction d.
func (p *Probe) Moved(d Direction) int64 { return p.moved[d].Load() }

// Closed reports whether the owner of the connection has closed it. A
// connection that was lost has to be closed as well: its descriptor is still
// there.
func (p *Probe) Closed() bool { return p.closed.Load() }

// Break ends the connection from outside, which wakes whatever waits for it.
func (p *Probe) Break() {
	if f := p.conn.Load(); f != nil {
		f.lose()
	}
}

// Faulty is rw with faults. Every fault happens at its byte, however large the
// reads and writes are, and each time in the same way. One goroutine may read
// while another one writes; Close may be called at any time. It works in a
// bubble of testing/synctest where rw does.
func Faulty(rw io.ReadWriteCloser, faults ...Fault) io.ReadWriteCloser {
	f := &faulty{rw: rw, faults: faults, gone: make(chan struct{})}
	for _, fault := range faults {
		if fault.what == watch {
			f.probe = fault.probe
			f.probe.conn.Store(f)
		}
	}
	f.moved(Reads, 0)
	f.moved(Writes, 0)
	return f
}

type faulty struct {
	rw     io.ReadWriteCloser
	faults []Fault
	probe  *Probe // nil without
	passed [2]int64

	lost     atomic.Bool
	gone     chan struct{} // closed when the connection is lost or closed
	goneOnce sync.Once
	closing  atomic.Bool
	closeErr error // of rw, once gone is closed
}

// Read reads what comes before the next fault.
func (f *faulty) Read(p []byte) (int, error) {
	limit, err := f.admit(Reads, len(p))
	if err != nil {
		return 0, err
	}
	at := f.passed[Reads]
	n, err := f.rw.Read(p[:limit])
	f.spoil(Reads, at, p[:n])
	f.moved(Reads, n)
	if err != nil && n == 0 && f.lost.Load() {
		err = io.EOF
	}
	return n, err
}

// Write writes all of p, fault by fault.
func (f *faulty) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		limit, err := f.admit(Writes, len(p))
		if err != nil {
			return written, err
		}
		part := p[:limit]
		if f.spoils(Writes, f.passed[Writes], part) {
			part = bytes.Clone(part) // the caller's bytes are not to be touched
			f.spoil(Writes, f.passed[Writes], part)
		}
		n, err := f.rw.Write(part)
		written += n
		p = p[n:]
		f.moved(Writes, n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Close closes the connection. Closing again does nothing.
func (f *faulty) Close() error {
	if !f.closing.CompareAndSwap(false, true) {
		return nil
	}
	f.end()
	if f.probe != nil {
		f.probe.closed.Store(true)
	}
	for _, fault := range f.faults {
		if fault.what == slowClose {
			time.Sleep(fault.delay)
		}
	}
	if f.lost.Load() {
		return nil // it was closed underneath
	}
	return f.closeErr
}

// lose is what a Cut does.
func (f *faulty) lose() {
	f.lost.Store(true)
	f.end()
}

func (f *faulty) end() {
	f.goneOnce.Do(func() {
		f.closeErr = f.rw.Close()
		close(f.gone)
	})
}

// ended is what an operation on the connection gets after its end, nil before.
func (f *faulty) ended(d Direction) error {
	select {
	case <-f.gone:
	default:
		return nil
	}
	if d == Reads && f.lost.Load() {
		return io.EOF
	}
	return io.ErrClosedPipe
}

// admit waits for as long as the faults want, and returns how many of n bytes
// may pass at once.
func (f *faulty) admit(d Direction, n int) (int, error) {
	if err := f.ended(d); err != nil || n == 0 {
		return 0, err
	}
	for i := range f.faults {
		fault := &f.faults[i]
		if fault.what == slow {
			n = min(n, fault.size)
			f.sleep(fault.delay)
		}
		if fault.dir != d {
			continue
		}
		before := fault.at - f.passed[d]
		switch fault.what {
		case stall:
			if before <= 0 {
				<-f.gone
			}
		case fail:
			if before <= 0 {
				return 0, fault.err
			}
		case cut:
			if before <= 0 {
				continue // lost already
			}
		default:
			continue
		}
		if before > 0 {
			n = int(min(int64(n), before))
		}
	}
	return n, f.ended(d)
}

// sleep waits, though no longer than the connection lives.
func (f *faulty) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.gone:
	}
}

// spoils reports whether one of the bytes that begin at a position is to be
// corrupted.
func (f *faulty) spoils(d Direction, at int64, p []byte) bool {
	for i := range f.faults {
		fault := &f.faults[i]
		if fault.what == corrupt && fault.dir == d && fault.at >= at && fault.at < at+int64(len(p)) {
			return true
		}
	}
	return false
}

func (f *faulty) spoil(d Direction, at int64, p []byte) {
	for i := range f.faults {
		fault := &f.faults[i]
		if fault.what == corrupt && fault.dir == d && fault.at >= at && fault.at < at+int64(len(p)) {
			p[fault.at-at] ^= fault.mask
		}
	}
}

// moved counts n bytes, and cuts the connection if that is its end.
func (f *faulty) moved(d Direction, n int) {
	f.passed[d] += int64(n)
	if f.probe != nil {
		f.probe.moved[d].Add(int64(n))
	}
	for i := range f.faults {
		if fault := &f.faults[i]; fault.what == cut && fault.dir == d && f.passed[d] >= fault.at {
			f.lose()
		}
	}
}
