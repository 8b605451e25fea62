// Package gcsstore keeps externalized batches in a bucket of Google Cloud Storage.
// Importing it links Google's SDK.
//
//	store, err := gcsstore.Open(ctx, "gs://bucket", blobstore.Options{})
//	offload, err := external.New(external.Options{Store: store})
//
// Credentials are the application's default ones. URLs are signed (V4) with the
// private key of a service account where the credentials have one. Without one, as
// on Google's own machines, the IAM service signs: that takes a request for each
// URL, and the account needs the role roles/iam.serviceAccountTokenCreator on
// itself. Besides that it needs storage.objects.create and storage.objects.get;
// nothing is ever listed or deleted.
//
// Upload URLs are bound to PUT and to the content type of Arrow streams.
//
// # Lifecycle
//
// Nothing is deleted by this package. Give the bucket a rule (gcloud storage
// buckets update gs://bucket --lifecycle-file=rule.json) for the prefix, which is
// "vgirpc/" unless Options say otherwise:
//
//	{"rule": [
//	  {"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefix": ["vgirpc/"]}},
//	  {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 1}}
//	]}
//
// Age counts whole days since the object was made, and deletion may lag by another
// day; use more days when Options.TTL is longer than a day. A new bucket has soft
// delete, which keeps, and charges for, what was deleted for seven more days: turn
// it off (--clear-soft-delete) for a bucket that holds nothing else.
package gcsstore
