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
//	--access-log PATH       append one JSON line for each call
//	--request-log PATH      append one JSON line for each request that was refused
//	--log-level LEVEL       debug, info, warn or error
//
//	--max-connections N     connections served at once, 64 by default
//	--rate-limit-address, --rate-limit-principal N[/s|/m|/h][:BURST]
//	                        connections or HTTP requests of each address; calls,
//	                        or HTTP requests, of each authenticated caller
//	--idle-timeout SECONDS  end after so long without any connection
//	--drain-delay, --drain-timeout, --exit-timeout SECONDS  of the end, see below
//	--memory-limit-ratio N  of what the control group allows, 0.9 by default
//
//	--config PATH           read settings from a YAML file
//	--check, --print-config what was understood of all that, without serving
//	--version, --help       which has the other limits, too
//
// What a flag sets, a variable of the environment sets as well, and a
// configuration file: --max-connections is VGI_RPC_MAX_CONNECTIONS there and
// max-connections here. That holds for the flags of every [Option]; [Secret] and
// [AlsoEnvironment] say more of a flag. The command line goes before the
// environment, that before the file, and all of them before what the program has
// set. See docs/configuration.md.
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
// # Signals
//
// SIGTERM and SIGINT end a worker in good order: it is not ready any more
// ([Setup.CheckReady]), takes calls for --drain-delay, then no others, lets those
// in progress finish for --drain-timeout, and logs how many did. SIGHUP reloads
// what can be reloaded ([Setup.OnReload]): the access log is opened anew. SIGUSR2
// starts the program anew, gives the new process the listeners, and ends once that
// serves: calls in progress finish here, idle connections of Unix and TCP sockets
// go over to the new process, and no call is lost. See docs/operations.md.
//
// A worker that systemd starts takes its sockets (socket activation) and tells it
// what happens (sd_notify, watchdog).
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
