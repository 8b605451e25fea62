// Package codec maps Go types to Arrow columns. It is the only package that
// uses reflection: struct tags are compiled once into a [Plan], and a plan
// reads and writes the columns of a [wire.Batch] through field offsets.
//
// What a Go type becomes (WIRE_PROTOCOL section 4):
//
//	bool, intN, uintN, floatN    themselves; int is int64, uint is uint64
//	string                       utf8; large_utf8 or dictionary<…> by type=
//	[]byte                       binary; large_binary or fixed_size_binary(n) by type=
//	[N]byte                      fixed_size_binary(N)
//	*T                           T, nullable
//	[]T, [N]T                    list<item?:T>, fixed_size_list(N)<item?:T>
//	map[K]V, Pairs[K, V]         map<key:K,value?:V>; a Go map goes out in key order
//	map[K]struct{}               list<item?:K>, a set, in key order
//	struct                       binary holding an IPC stream as a parameter or
//	                             result, struct<…> everywhere else
//	Enum                         dictionary<index:int16,value:utf8> of names
//	time.Time, time.Duration     timestamp(us,tz=UTC), duration(us)
//	Date, TimeOfDay              date32, time64(us)
//	Decimal, decimal128.Num      decimal128(p,s), which type= must give
//	arrow.RecordBatch            binary holding an IPC stream
//	*arrow.Schema, *wire.Schema  binary holding a schema message
//
// A field's tag is `vgi:"name,option,…"`. Without a name the column is called
// after the field, in snake case; "-" leaves the field out. Options:
//
//	type=TOKEN   the Arrow type, as a token of section 14; the names of list and
//	             map children may be left out: list<decimal128(20,4)>
//	nullable     nulls are allowed: a nil slice, map, record or schema is null
//	notnull      a pointer that must not be nil
//	borrow       a []byte that lies in the batch's memory, valid for the call
//	default=X    what an absent column means; X is the rest of the tag, or a
//	             quoted Go string
//
// Only pointers, and slices and the like that are declared nullable, can hold
// a null. Anywhere else a null is a [ValueError], also where the column is
// nullable.
//
// The package never talks to a connection, never logs, and knows nothing of
// methods.
package codec
