//go:build linux

package main

import (
	"slices"
	"time"
)

// load is one measurement: which peer does what.
type load struct {
	Peer    string        `json:"peer"`
	Network string        `json:"network"`         // pipe, unix, tcp; none for what needs no server
	Stream  bool          `json:"stream"`          // batches of a stream in place of calls
	Conns   int           `json:"connections"`     // that the client opens; HTTP/1.1 opens as many as it needs
	Callers int           `json:"callers"`         // at once, shared out over the connections
	Wait    time.Duration `json:"wait,omitempty"`  // how long each call takes at the server, ns
	Delay   time.Duration `json:"delay,omitempty"` // of the link, there and back, ns
	N       int           `json:"n"`               // calls or batches, over all callers
	OneCore bool          `json:"one_core"`
}

// row is a line of a table.
type row struct {
	Key   string `json:"key"` // within its table
	Title string `json:"title"`
	load
}

// table is a group of rows that do the same work.
type table struct {
	key, title, note string
	floor, ours      string // keys of the rows that ratios are to; floor may be ""
	rate             bool   // ratios of throughput, not of the median
	rows             []row
}

func call(key, title, peer, network string) row {
	return row{key, title, load{Peer: peer, Network: network, Conns: 1, Callers: 1, N: 10000}}
}

func (r row) at(conns, callers, n int) row {
	r.Conns, r.Callers, r.N = conns, callers, n
	return r
}

// slow makes the server take 1 ms for each call.
func (r row) slow() row {
	r.Wait = time.Millisecond
	return r
}

// far puts a link between client and server.
func (r row) far() row {
	r.Delay = 10 * time.Millisecond
	return r
}

func stream(key, title, peer, network string, batches int) row {
	return row{key, title, load{Peer: peer, Network: network, Stream: true, Conns: 1, Callers: 1, N: batches}}
}

// onOneCore pins client and server of each row to one core.
func onOneCore(rows []row) []row {
	pinned := slices.Clone(rows)
	for i := range pinned {
		pinned[i].OneCore = true
	}
	return pinned
}

// tables is the whole comparison.
func tables() []table {
	pipe := []row{
		call("floor", "echo of as many bytes", "raw", "pipe"),
		call("vgi", "vgi-rpc", "vgi", "pipe"),
	}
	unix := []row{
		call("floor", "echo of as many bytes", "raw", "unix"),
		call("vgi", "vgi-rpc", "vgi", "unix"),
		call("grpc", "grpc-go", "grpc", "unix"),
		call("connect", "connect-go, HTTP/1.1", "connect", "unix"),
		call("connect-h2", "connect-go, HTTP/2", "connect-h2", "unix"),
	}
	web := []row{
		call("floor", "net/http, echo of as many bytes", "http", "unix"),
		call("vgi", "vgi-rpc, HTTP/1.1", "vgi-http", "unix"),
		call("vgi-h2", "vgi-rpc, HTTP/2", "vgi-h2", "unix"),
		call("connect", "connect-go, HTTP/1.1", "connect", "unix"),
		call("connect-h2", "connect-go, HTTP/2", "connect-h2", "unix"),
		call("grpc", "grpc-go", "grpc", "unix"),
	}
	const oneCore, allCores = "Client and server share one core.", "Client and server have all cores."
	return []table{
		{"pipe", "A small call over a pipe", oneCore, "floor", "vgi", false, onOneCore(pipe)},
		{"unix", "A small call over a Unix socket", oneCore, "floor", "vgi", false, onOneCore(unix)},
		{"http", "A small call over HTTP on a Unix socket", oneCore, "floor", "vgi", false, onOneCore(web)},
		{"pipe-free", "A small call over a pipe, all cores", allCores, "floor", "vgi", false, pipe},
		{"unix-free", "A small call over a Unix socket, all cores", allCores, "floor", "vgi", false, unix},
		streams(),
		{
			"far", "The same over a link of 10 ms there and back", "The delay is made by a relay in the client's process.", "", "vgi", true, []row{
				stream("vgi", "vgi-rpc, TCP", "vgi", "tcp", 256).far(),
				stream("flight", "Arrow Flight DoGet, TCP", "flight", "tcp", 256).far(),
				stream("flight-tuned", "Arrow Flight DoGet, TCP, large windows and buffers", "flight-tuned", "tcp", 256).far(),
			},
		},
		{
			"many", "32 callers at once over Unix sockets", "One connection, or one for each caller.", "floor", "vgi", true, []row{
				call("floor", "echo of as many bytes, 32 connections", "raw", "unix").at(32, 32, 64000),
				call("vgi", "vgi-rpc, 32 connections", "vgi", "unix").at(32, 32, 64000),
				call("vgi-1", "vgi-rpc, 1 connection", "vgi", "unix").at(1, 32, 32000),
				call("vgi-http", "vgi-rpc, HTTP/1.1, 32 connections", "vgi-http", "unix").at(1, 32, 32000),
				call("grpc-1", "grpc-go, 1 connection", "grpc", "unix").at(1, 32, 32000),
				call("grpc-32", "grpc-go, 32 connections", "grpc", "unix").at(32, 32, 32000),
				call("connect", "connect-go, HTTP/1.1, 32 connections", "connect", "unix").at(1, 32, 32000),
				call("connect-h2", "connect-go, HTTP/2, 1 connection", "connect-h2", "unix").at(1, 32, 32000),
			},
		},
		{
			"slow", "32 callers at once, each call takes the server 1 ms", "What multiplexing is good for.", "", "vgi-1", true, []row{
				call("vgi-1", "vgi-rpc, 1 connection", "vgi", "unix").at(1, 32, 640).slow(),
				call("vgi", "vgi-rpc, 32 connections", "vgi", "unix").at(32, 32, 9600).slow(),
				call("grpc-1", "grpc-go, 1 connection", "grpc", "unix").at(1, 32, 9600).slow(),
				call("connect-h2", "connect-go, HTTP/2, 1 connection", "connect-h2", "unix").at(1, 32, 9600).slow(),
			},
		},
		{
			"crowd", "1000 callers at once", "Whoever does not multiplex has 1000 connections.", "", "vgi", true, []row{
				call("vgi", "vgi-rpc, 1000 connections", "vgi", "unix").at(1000, 1000, 50000),
				call("grpc-1", "grpc-go, 1 connection", "grpc", "unix").at(1, 1000, 50000),
				call("connect-h2", "connect-go, HTTP/2, 1 connection", "connect-h2", "unix").at(1, 1000, 50000),
			},
		},
	}
}

// streams are batches of 1 MiB, one consumer.
func streams() table {
	return table{
		"stream", "A stream of record batches of 1 MiB", "A figure is for one batch. Client and server have all cores.", "floor", "vgi", true, []row{
			stream("memcpy", "memcpy of as many bytes", "memcpy", "none", 8192),
			stream("floor", "as many bytes, asked for one by one", "raw", "unix", 2048),
			stream("vgi", "vgi-rpc", "vgi", "unix", 2048),
			stream("vgi-tcp", "vgi-rpc, TCP", "vgi", "tcp", 2048),
			stream("flight", "Arrow Flight DoGet", "flight", "unix", 512),
			stream("flight-tcp", "Arrow Flight DoGet, TCP", "flight", "tcp", 512),
			stream("flight-tuned", "Arrow Flight DoGet, large windows and buffers", "flight-tuned", "unix", 512),
		},
	}
}

// target is a bound on a ratio of two rows of one table.
type target struct {
	text        string
	table       string
	above, over string // the ratio is above / over, of throughput or of medians as the table has it
	limit       float64
	atLeast     bool
}

// targets are met by the median of a row, or by its rate. A ratio to the floor is
// measured on one core, where it holds still; one to a peer on all cores, which
// is how both are used, and then on one for comparison.
func targets() []target {
	return []target{
		{"small call over a pipe, µs to those of the floor", "pipe", "vgi", "floor", 2.5, false},
		{"small call over a Unix socket, µs to those of the floor", "unix", "vgi", "floor", 2.5, false},
		{"small call over a Unix socket, µs of grpc-go to ours", "unix-free", "grpc", "vgi", 4, true},
		{"small call over a Unix socket, µs of connect-go (HTTP/1.1) to ours", "unix-free", "connect", "vgi", 0, true},
		{"the same on one core, grpc-go", "unix", "grpc", "vgi", 0, true},
		{"the same on one core, connect-go", "unix", "connect", "vgi", 0, true},
		{"stream of 1 MiB batches, our throughput to Flight's", "stream", "vgi", "flight", 5, true},
		{"the same to Flight with large windows and buffers", "stream", "vgi", "flight-tuned", 0, true},
	}
}
