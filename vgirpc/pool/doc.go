// Package pool shares connections, or worker processes, between goroutines.
//
// A byte-stream connection carries one call at a time. A [Pool] is a
// [vgirpc.Transport] of several: each call has a connection to itself, opened
// when none is idle and given back when the call is over, so that a client on a
// pool runs its calls at once.
//
//	p, err := pool.New(func(ctx context.Context) (vgirpc.Transport, error) {
//		c, err := new(net.Dialer).DialContext(ctx, "unix", "/run/calc.sock")
//		if err != nil {
//			return nil, err
//		}
//		return vgirpc.NewStreamTransport(c, vgirpc.ClientOptions{}), nil
//	}, pool.Options{Max: 16})
//	client := vgirpc.NewClientOn(p, vgirpc.ClientOptions{})
//
// [OnClients] makes a pool of what returns clients, as worker processes do.
//
// # What happens to a connection
//
// The result of a unary call keeps its connection until it is released, an open
// stream until it has ended, was cancelled or closed. Then the connection is
// idle, or goes to whoever has waited longest. It is closed when it was idle for
// too long ([Options.IdleTimeout]), has become too old ([Options.MaxAge]), or
// when a call failed on it in any way but by the server's refusal
// ([vgirpc.IsRemote]): what it would bring next is not known then.
//
// A connection that was idle for a while, or while another was lost, is asked for
// a sign of life before a call is sent on it ([Options.Check]), and replaced when
// it gives none. No call
// is ever sent twice: one that failed may have been received, and only the
// caller can know whether to repeat it.
//
// State that a server keeps for a connection is not for pools: two calls may use
// different connections.
package pool
