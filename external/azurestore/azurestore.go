package azurestore

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/blobstore"
)

// Open opens the container of a URL: "azblob://name", with parameters
//
//	storage_account=name         instead of AZURE_STORAGE_ACCOUNT's
//	domain=blob.core.windows.net of another cloud, or host:port of an emulator
//	protocol=http, localemu=true for an emulator
//
// It fails when something in the URL is unknown, and when there is no key to sign
// with; whether key and container are good is seen by the first upload.
func Open(ctx context.Context, containerURL string, opts blobstore.Options) (*blobstore.Store, error) {
	u, err := url.Parse(containerURL)
	if err != nil || u.Scheme != azureblob.Scheme || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return nil, errors.New(`azurestore: want a URL like "azblob://container"`)
	}
	service := *azureblob.NewDefaultServiceURLOptions()
	service.SASToken = "" // it cannot sign, and must not go to where a URL leads
	opener := &azureblob.URLOpener{MakeClient: azureblob.NewDefaultClient, ServiceURLOptions: service}
	bucket, err := opener.OpenBucketURL(ctx, u)
	if err != nil {
		return nil, external.Redacted(err)
	}
	return New(ctx, bucket, opts)
}

// New is [Open] for a bucket of [gocloud.dev/blob/azureblob] that the program
// opened itself with the account's key, and that the store closes.
func New(ctx context.Context, bucket *blob.Bucket, opts blobstore.Options) (*blobstore.Store, error) {
	if opts.Sign == nil {
		opts.Sign = func(_ context.Context, method, key string, ttl time.Duration) (string, error) {
			return sign(bucket, method, key, ttl)
		}
	}
	return blobstore.New(ctx, bucket, opts)
}

// sign makes a URL without the time from which it works, which gocloud would set
// to now: a service whose clock is behind ours would refuse it.
func sign(bucket *blob.Bucket, method, key string, ttl time.Duration) (string, error) {
	var client *container.Client
	if method != http.MethodGet || !bucket.As(&client) {
		return "", errors.New("azurestore: the bucket is not one of Azure, or the method not GET")
	}
	expires := time.Now().UTC().Add(ttl + time.Second - 1) // it counts whole seconds
	return client.NewBlobClient(key).GetSASURL(sas.BlobPermissions{Read: true}, expires, nil)
}
