package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// keyboard is an input at which nobody types until it is released.
type keyboard struct {
	reading  chan struct{} // one for each read
	released chan struct{}
	done     chan struct{} // the read is over
}

func newKeyboard() *keyboard {
	return &keyboard{make(chan struct{}, 100), make(chan struct{}), make(chan struct{}, 100)}
}

// Read waits, and writes what was typed too late.
func (k *keyboard) Read(p []byte) (int, error) {
	k.reading <- struct{}{}
	<-k.released
	n := copy(p, "typed")
	k.done <- struct{}{}
	return n, nil
}

func TestAnInterruptEndsReadsOfStandardInput(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	file := filepath.Join(t.TempDir(), "r")
	_, front, stop := recorder(t, "unix", file, "--payloads")
	vgi(t, "call", front, "add_floats", "a=1", "b=2")
	stop()
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"rows of an exchange", []string{"stream", url, "exchange_scale", "factor=2", "-i", "-", "--input-format", "jsonl"}, exitInterrupted},
		{"rows in Arrow", []string{"stream", url, "exchange_scale", "factor=2", "-i", "-", "--input-format", "arrow"}, exitInterrupted},
		{"arguments", []string{"call", url, "add_floats", "-d", "-"}, exitInterrupted},
		{"requests to a recording", []string{"replay", "--serve", "stdio:", file}, exitOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			in := newKeyboard()
			defer close(in.released)
			go func() {
				<-in.reading
				cancel()
			}()
			var out, errs bytes.Buffer
			if status := run(ctx, tt.args, streams{in: in, out: &out, err: &errs}); status != tt.want {
				t.Errorf("status %d: %s", status, errs.String())
			}
		})
	}
}

func TestAnAbandonedReadTouchesNothingOfTheCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := newKeyboard()
	r := &interruptible{ctx: ctx, r: in}
	go func() {
		<-in.reading
		cancel()
	}()
	p := make([]byte, 16)
	if _, err := r.Read(p); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(in.released)
	<-in.done
	if !bytes.Equal(p, make([]byte, 16)) {
		t.Errorf("the caller's memory has %q", p)
	}
	if _, err := r.Read(p); !errors.Is(err, context.Canceled) {
		t.Errorf("the next read brings %v", err)
	}
}

func TestAnErrorKeepsWhatIsAroundIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(l)
	got := vgi(t, "call", "http://"+l.Addr().String(), "add_floats", "a=1", "b=2", "--connect-timeout", "50ms")
	if got.status != exitUnreachable || !strings.Contains(got.errors, "error: not connected within 50ms: ") {
		t.Errorf("%+v", got)
	}
	doctor := vgi(t, "doctor", "http://"+l.Addr().String(), "--connect-timeout", "50ms")
	if doctor.status != exitProblems {
		t.Errorf("%+v", doctor)
	}
}
