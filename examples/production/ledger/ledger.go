// Package ledger is the contract of the example: what its server and its clients
// share.
package ledger

import "github.com/vgirpc/vgirpc-go/vgirpc"

// Protocol is the contract's name and version.
var Protocol = vgirpc.NewProtocol("example.Ledger.v1", "1.0.0")

// Convert changes an amount into another currency.
var Convert = vgirpc.NewUnary[ConvertParams, float64](Protocol, "convert")

// ConvertParams are the parameters of [Convert].
type ConvertParams struct {
	Amount float64 `vgi:"amount"`
	Rate   float64 `vgi:"rate"`
}

// Entries streams one row for each of the first entries.
var Entries = vgirpc.NewProducer[EntriesParams, Entry](Protocol, "entries")

// EntriesParams are the parameters of [Entries].
type EntriesParams struct {
	Count int64 `vgi:"count"`
}

// Balance answers each entry with the sum of all so far.
var Balance = vgirpc.NewExchange[vgirpc.None, Entry, Sum](Protocol, "balance")

// Entry is a row of [Entries], and of the input of [Balance].
type Entry struct {
	Amount int64 `vgi:"amount"`
}

// Sum is a row of the output of [Balance].
type Sum struct {
	Total int64 `vgi:"total"`
}
