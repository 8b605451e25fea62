package encoding

import (
	"bytes"
	"io"
	"testing"
)

func TestThePoolKeepsNoGiants(t *testing.T) {
	// A frame with a window, and one block of one byte.
	windowed := func(exponent byte) []byte {
		return []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (exponent - 10) << 3, 1<<3 | 1, 0, 0, 'x'}
	}
	for name, test := range map[string]struct {
		body []byte
		keep bool
	}{
		"a window of 2 MiB is kept":    {windowed(21), true},
		"a window of 4 MiB is dropped": {windowed(22), false},
		"a segment of 4 MiB is dropped": {
			[]byte{0x28, 0xb5, 0x2f, 0xfd, 2<<6 | 1<<5, 0, 0, 0x40, 0, 1<<3 | 1, 0, 0, 'x'}, false,
		},
		"a damaged body is kept": {[]byte("damaged"), true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newZstdStream()
			if err != nil {
				t.Fatal(err)
			}
			s.open(bytes.NewReader(test.body), 0)
			_, _ = io.Copy(io.Discard, &body{stream: s, coding: Zstd})
			if got := s.rest(); got != test.keep {
				t.Errorf("kept: %v, want %v", got, test.keep)
			}
			if test.keep {
				s.open(bytes.NewReader(windowed(10)), 0)
				if got, err := io.ReadAll(&body{stream: s, coding: Zstd}); err != nil || string(got) != "x" {
					t.Errorf("the next body is %q: %v", got, err)
				}
			}
		})
	}
}
