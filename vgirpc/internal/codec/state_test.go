package codec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type secretState struct {
	Seen  int
	count int //nolint:unused // reflection sees it
}

type cached struct {
	Seen  int
	cache map[string]int `vgi:"-"` //nolint:unused // reflection sees it
}

// sealed has a form of its own.
type sealed struct{ secret string }

func (s sealed) MarshalBinary() ([]byte, error) {
	if s.secret == "unspeakable" {
		return nil, errors.New("cannot be said")
	}
	return []byte(s.secret), nil
}

func (s *sealed) UnmarshalBinary(data []byte) error {
	if len(data) == 0 {
		return errors.New("nothing to read")
	}
	s.secret = string(data)
	return nil
}

type fullState struct {
	cached
	At      time.Time
	Spent   time.Duration
	Sealed  sealed
	Maybe   *sealed
	List    []int
	Bytes   []byte
	Map     map[string][]string
	Nested  struct{ Points []Point }
	Amount  Decimal
	History []time.Time
}

func TestAStoredStateComesBackAsItWas(t *testing.T) {
	zone := time.FixedZone("somewhere", 3*3600)
	for _, want := range []fullState{
		{Sealed: sealed{"x"}},
		{
			cached: cached{Seen: 3}, At: time.Date(2024, 1, 2, 3, 4, 5, 6, zone), Spent: 1234567 * time.Nanosecond, Sealed: sealed{"x"},
			Maybe: &sealed{"y"}, List: []int{}, Bytes: []byte{1}, Map: map[string][]string{"a": nil, "b": {"c"}},
			Nested: struct{ Points []Point }{[]Point{{1, 2}}}, Amount: decimals("1.50")[0],
			History: []time.Time{time.Date(1, 1, 1, 0, 0, 0, 999, time.UTC)},
		},
	} {
		p, err := CompileState(reflect.TypeFor[fullState]())
		if err != nil {
			t.Fatal(err)
		}
		data, err := p.Marshal(pointer(&want))
		if err != nil {
			t.Fatal(err)
		}
		var got fullState
		if err := p.Unmarshal(data, pointer(&got)); err != nil {
			t.Fatal(err)
		}
		if want.Map != nil {
			want.Map["a"] = []string{} // nil and empty differ in fields only
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(fullState{}, cached{}, sealed{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestStatesThatWouldLoseSomethingAreErrors(t *testing.T) {
	for _, tc := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[secretState](), "stream state codec.secretState, field count: the field is unexported and would not be stored: export it, or tag it `vgi:\"-\"`"},
		{reflect.TypeFor[struct{ Inner secretState }](), "stream state codec.secretState, field count"},
		{reflect.TypeFor[struct{ Ch chan int }](), ", field Ch: chan int has no Arrow form"},
		{reflect.TypeFor[struct{ A any }](), ", field A: interface"},
		{reflect.TypeFor[int](), "stream state int: want a struct"},
	} {
		_, err := CompileState(tc.typ)
		var state *StateError
		if !errors.As(err, &state) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}

func TestErrorsOfAStatesOwnMethodsNameTheField(t *testing.T) {
	type row struct{ S sealed }
	p, err := CompileState(reflect.TypeFor[row]())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Marshal(pointer(&row{sealed{"unspeakable"}})); err == nil || err.Error() != "field s: codec.sealed: cannot be said" {
		t.Errorf("got %v", err)
	}
	data, err := p.Marshal(pointer(&row{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Unmarshal(data, pointer(&row{})); err == nil || err.Error() != "field s: codec.sealed: nothing to read" {
		t.Errorf("got %v", err)
	}
}
