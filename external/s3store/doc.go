// Package s3store keeps externalized batches in a bucket of Amazon S3, or of a
// server that speaks its protocol: Cloudflare R2, MinIO, Ceph, SeaweedFS and many
// more. Importing it links the AWS SDK.
//
//	store, err := s3store.Open(ctx, "s3://bucket?region=eu-central-1", blobstore.Options{})
//	offload, err := external.New(external.Options{Store: store})
//
// Credentials are found as the SDK finds them: environment, shared files, the
// instance's role. They need s3:PutObject for uploads, and s3:GetObject and
// s3:PutObject to sign URLs that work; nothing is ever listed or deleted. With
// credentials that are temporary, a signed URL ends with them, however long its
// TTL.
//
// Upload URLs are bound to PUT and to the content type of Arrow streams.
//
// # Lifecycle
//
// Nothing is deleted by this package. Give the bucket a rule
// (s3api put-bucket-lifecycle-configuration) for the prefix, which is "vgirpc/"
// unless Options say otherwise:
//
//	{"Rules": [{
//	  "ID": "vgirpc", "Status": "Enabled", "Filter": {"Prefix": "vgirpc/"},
//	  "Expiration": {"Days": 1},
//	  "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
//	  "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}
//	}]}
//
// S3 counts whole days from midnight UTC, so an object lives for one to two of
// them; use more days when Options.TTL is longer than a day. The last two lines
// matter: with versioning an expired object is only hidden, and the parts of an
// upload that was interrupted are kept, and paid for, without being listed. MinIO
// takes the same rule (mc ilm rule add --prefix vgirpc/ --expire-days 1), R2 has it
// in the bucket's settings, and Ceph and SeaweedFS take the JSON above.
package s3store
