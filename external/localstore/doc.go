// Package localstore is the storage that needs no cloud: externalized batches lie
// in a directory ("file:///path") or in memory ("mem://"), and the program serves
// them itself over HTTP. It is for one machine, for development and for tests; a
// service of several machines wants a bucket (package blobstore).
//
// A [Store] is the storage and the [http.Handler] in front of it. [Start] gives it
// a listener of its own, which is the way to use it: never mount it on the origin
// of pages, for it serves bytes that callers chose. Whoever mounts it elsewhere
// all the same says so with [New] and Options.BaseURL.
//
//	store, err := localstore.Start("127.0.0.1:0", localstore.Options{URL: "mem://"})
//	offload, err := external.New(external.Options{Store: store})
//
// # What is served
//
// Every URL is sealed: method, object and expiry are under a MAC, and a request
// that differs in one of them is refused before storage is asked whether there is
// such an object. There is no listing, and no way to name a file: keys are random,
// have one form, and are opened below the directory only, wherever symbolic links
// lead ([os.Root]). Objects never change: a second PUT to the same URL is
// refused. Answers have one content type, and tell browsers to save them and to
// guess nothing. Nothing of a request reaches a log.
//
// The URLs are secrets on plain HTTP: give other machines an https BaseURL, with
// a gateway in front, or keep to loopback.
//
// # Lifecycle
//
// The store needs no rules, it cleans up itself: an object goes Options.TTL after
// it was written, when every URL that leads to it has expired, and a sweeper looks
// every Options.SweepEvery. Total bytes and objects have a quota, over which
// uploads are refused. A directory outlives the program, so the next one to open it
// sweeps what the last one left; it should hold nothing else, and be on a disk that
// may fill. Several processes may share one directory, and Options.Key if they
// should serve each other's URLs; each then counts what it wrote itself at once,
// and what others wrote at the next sweep.
package localstore
