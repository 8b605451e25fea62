// Package blobstore keeps externalized batches in a bucket of [gocloud.dev/blob].
// It knows no cloud: packages s3store, gcsstore and azurestore open the buckets of
// one cloud each, and any other driver that signs URLs will do.
//
// A [Store] uploads with the program's own credentials and answers with a signed
// URL for a GET. An [UploadStore] can also vend URLs for a client's PUT, which are
// bound to the content type of Arrow streams where the driver can do that. Buckets
// stay private: nothing here makes an object public, and whoever has a URL can do
// one thing with one object until the URL expires.
//
// # Keys
//
// An object's key is Prefix + "out/2026-11-21/" + 130 random bits for what this
// program uploads, and "in/" instead of "out/" for what others put. Nothing that a
// caller says is part of a key.
//
// # Lifecycle
//
// Nothing here deletes objects: every store has rules for that, which work while
// no program runs and cost nothing. Give the prefix a rule that deletes after a
// day or more, and not before the URLs expire ([Options.TTL]); the documentation
// of each cloud's package has the rule to copy. "in/" wants a rule as much as
// "out/" does: whoever is given an upload URL decides whether to use it, and when.
// Stores that count by days round up, so that a rule of one day may keep an object
// for two.
//
// What was published for many calls ([external.Offload.Publish]) must outlive all
// of them. Give it a Store of its own with another prefix, another rule and a
// longer TTL; S3 and GCS sign for 7 days at most.
package blobstore
