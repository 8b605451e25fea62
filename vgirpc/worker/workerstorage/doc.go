// Package workerstorage lets large batches of a worker leave for external
// storage, on every transport: its option goes to [worker.Main], and nothing else
// of a main function changes.
//
//	worker.Main(server, workerstorage.Option(workerstorage.Options{}), workerhttp.Option(httpserver.Options{}))
//
// Such a worker understands, besides the flags of package worker:
//
//	--storage URL                where large batches go, and pointers lead
//	--externalize-threshold N    batches from N bytes on leave, 1 MiB by default
//	--storage-compression CODING none, zstd or gzip
//	--storage-ttl SECONDS        how long URLs work, one hour by default
//	--storage-listen ADDRESS     where mem: and file: are served, 127.0.0.1:0 by default
//	--storage-base-url URL       how others reach that, its own address by default
//
// What callers point to is fetched under limits:
//
//	--storage-allow-origin ORIGIN  from there and the storage alone, https://* by default
//	--storage-max-fetch-bytes N    as stored, 256 MiB by default
//	--storage-max-decoded-bytes N  after decompression, 16 times that by default
//	--storage-fetch-timeout SECONDS   for each attempt, 60 by default
//	--storage-upload-timeout SECONDS  for an upload with its attempts, 180 by default
//
// The storage is "mem://" or "file:///path", which the worker serves itself from
// a listener of its own (package localstore), or one of those that the program
// names in Options.Stores: a worker links the drivers of clouds only when its main
// does. Over HTTP, clients are given upload URLs where the storage has them.
package workerstorage
