// Package worker is the main function of a worker: it reads the command line,
// serves a [vgirpc.Server] over standard input and output, a Unix socket or
// TCP, and ends in good order on SIGTERM and SIGINT.
//
//	func main() {
//		server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, Greeter)
//		if err != nil {
//			log.Fatal(err)
//		}
//		vgirpc.HandleUnary(server, Hello, hello)
//		worker.Main(server)
//	}
//
// A binary made in this way understands:
//
//	(nothing)               serve standard input and output
//	--unix PATH             listen on a Unix socket, announced as "UNIX:PATH"
//	--unix-mode MODE        the socket's permissions in octal, 600 by default
//	--tcp [HOST:]PORT       listen on TCP, announced as "TCP:HOST:PORT"
//	--max-connections N     connections served at once, 64 by default
//	--idle-timeout SECONDS  end after so long without any connection
//	--access-log PATH       append one JSON line for each call
//	--log-level LEVEL       debug, info, warn or error
//	--version, --help
//
// The environment variable VGI_RPC_IPC_VALIDATION (none, standard or full) says
// how thoroughly received batches are checked. Flags and environment go before
// what the program set in vgirpc.ServerOptions.
//
// Standard output belongs to the protocol. In the listening modes it gets one
// line, written when the worker can be reached; over stdio nothing but Arrow
// IPC. Whatever the program prints there after Main was called goes to standard
// error; what it printed before cannot be taken back.
//
// Other transports and observers come as an [Option] from the package that
// implements them, so that a worker links only what its main names. This
// package links no HTTP.
//
// # Exit status
//
//	0    the peer closed standard input, nobody was connected for the idle
//	     timeout, or a first SIGTERM or SIGINT: calls in progress had
//	     ConnOptions.DrainTimeout (8 s by default) to finish
//	1    serving failed
//	2    the command line or the environment makes no sense
//	130  a second signal, a SIGINT: nothing was waited for
//	143  a second signal, a SIGTERM
package worker
