package s3store

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/blobstore"
)

// Open opens the bucket of a URL: "s3://name", with parameters
//
//	region=eu-central-1          of the bucket
//	endpoint=https://host:port   of a server that is not Amazon's
//	use_path_style=true          for servers without a host name for each bucket
//	profile=name                 of the shared configuration
//	request_checksum_calculation=when_required
//	                             for servers that refuse newer checksums
//
// and the others of [gocloud.dev/blob/s3blob.URLOpener]. It fails when something
// in the URL is unknown, and when there are no credentials; whether they and the
// bucket are good is seen by the first upload.
func Open(ctx context.Context, bucketURL string, opts blobstore.Options) (blobstore.UploadStore, error) {
	u, err := url.Parse(bucketURL)
	if err != nil || u.Scheme != s3blob.Scheme || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return blobstore.UploadStore{}, errors.New(`s3store: want a URL like "s3://bucket?region=eu-central-1"`)
	}
	bucket, err := new(s3blob.URLOpener).OpenBucketURL(ctx, u)
	if err != nil {
		return blobstore.UploadStore{}, external.Redacted(err)
	}
	return New(ctx, bucket, opts)
}

// New is [Open] for a bucket of [gocloud.dev/blob/s3blob] that the program opened
// itself, and that the store closes.
func New(ctx context.Context, bucket *blob.Bucket, opts blobstore.Options) (blobstore.UploadStore, error) {
	if opts.Sign == nil {
		opts.Sign = func(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
			sign := &blob.SignedURLOptions{Method: method, Expiry: ttl}
			if method == http.MethodPut {
				sign.BeforeSign = bindType
			}
			return bucket.SignedURL(ctx, key, sign)
		}
	}
	return blobstore.NewUpload(ctx, bucket, opts)
}

// bindType signs the content type of an upload, for which gocloud has an option
// that its driver of S3 refuses: the SDK signs whatever is in the request.
func bindType(as func(any) bool) error {
	var put *s3.PutObjectInput
	if !as(&put) {
		return errors.New("s3store: the bucket is not one of S3")
	}
	put.ContentType = aws.String(blobstore.ContentType)
	return nil
}
