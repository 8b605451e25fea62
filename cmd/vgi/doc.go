// Command vgi calls vgi-rpc servers from the command line: it asks a server what
// it hosts, calls methods by name, reads and feeds streams, measures, and looks
// for what is wrong between here and there.
//
//	vgi describe URL [PROTOCOL[/METHOD]]
//	vgi call     URL METHOD [NAME=VALUE]…
//	vgi stream   URL METHOD [NAME=VALUE]…
//	vgi bench    URL METHOD [NAME=VALUE]…
//	vgi doctor   URL
//	vgi login    URL
//	vgi logout   URL
//	vgi launch   connect|status|gc
//	vgi record   -o FILE (-- WORKER… | LISTEN TARGET)
//	vgi replay   FILE URL | --serve ADDRESS FILE
//	vgi recording show FILE
//
// It needs no types: methods and their schemas come from the server's
// reflection. What it prints on standard output is data alone; errors, logs,
// headers and progress go to standard error. The exit status says what became of
// a call ("vgi help exit-codes").
package main
