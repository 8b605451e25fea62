package vgirpc

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type storedState struct {
	Count int64
	Name  string
}

func TestAStateIsStoredAsWhatTellsItFromItsZero(t *testing.T) {
	st, err := newStateType(reflect.TypeFor[*storedState]())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []storedState{{}, {Count: 1}, {Count: -1, Name: "x"}, {Name: string(make([]byte, 300))}} {
		data, err := st.encode(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := st.decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	small, err := st.encode(&storedState{Count: 7})
	if err != nil {
		t.Fatal(err)
	}
	if most := markBytes + 32; len(small) > most {
		t.Errorf("a number is stored in %d bytes: want at most %d", len(small), most)
	}
}

func TestAStoredStateThatWasTamperedWithIsRefused(t *testing.T) {
	st, err := newStateType(reflect.TypeFor[*storedState]())
	if err != nil {
		t.Fatal(err)
	}
	zero := uint64(len(st.zero))
	kept := func(head, tail uint64) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(st.mark[:], head), tail)
	}
	for name, data := range map[string][]byte{
		"nothing":                     nil,
		"another mark":                make([]byte, 64),
		"the mark alone":              st.mark[:],
		"more than the zero state":    kept(zero+1, 0),
		"parts that overlap":          kept(zero, 1),
		"a number that has no end":    append(st.mark[:], 0x80),
		"a tail that has no end":      append(st.mark[:], 1, 0x80),
		"lengths that wrap around":    kept(1, 1<<63),
		"a beginning without the end": kept(zero/2, 0),
	} {
		if _, err := st.decode(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := st.decode(nil); !errors.Is(err, errOtherLayout) {
		t.Errorf("error %v", err)
	}
}
