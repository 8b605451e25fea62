package gcsstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"google.golang.org/api/iamcredentials/v1"
	"google.golang.org/api/option"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/blobstore"
)

// Open opens the bucket of a URL: "gs://name", with parameters
//
//	access_id=name@project.iam.gserviceaccount.com
//	                             the account that signs URLs, if it cannot be seen
//	                             from the credentials
//	private_key_path=/path       its private key in PEM; IAM signs without one
//	endpoint=http://host:port    of an emulator, which gets no credentials: it needs
//	                             the other two
//
// It fails when something in the URL is unknown, without credentials, and when
// nobody can be found who signs; whether the bucket is good is seen by the first
// upload.
func Open(ctx context.Context, bucketURL string, opts blobstore.Options) (blobstore.UploadStore, error) {
	c, err := parse(bucketURL)
	if err != nil {
		return blobstore.UploadStore{}, err
	}
	bucket, err := c.open(ctx)
	if err != nil {
		return blobstore.UploadStore{}, external.Redacted(err)
	}
	if opts.Sign == nil {
		opts.Sign = c.signer(bucket)
	}
	return blobstore.NewUpload(ctx, bucket, opts)
}

// New is [Open] for a bucket of [gocloud.dev/blob/gcsblob] that the program opened
// itself with somebody who signs, and that the store closes.
func New(ctx context.Context, bucket *blob.Bucket, opts blobstore.Options) (blobstore.UploadStore, error) {
	if opts.Sign == nil {
		opts.Sign = (&config{}).signer(bucket)
	}
	return blobstore.NewUpload(ctx, bucket, opts)
}

// config is what a URL says.
type config struct {
	bucket, accessID, keyPath string
	endpoint                  *url.URL // nil is Google's
}

func parse(bucketURL string) (*config, error) {
	u, err := url.Parse(bucketURL)
	if err != nil || u.Scheme != gcsblob.Scheme || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return nil, errors.New(`gcsstore: want a URL like "gs://bucket"`)
	}
	c := &config{bucket: u.Host}
	for name, values := range u.Query() {
		switch name {
		case "access_id":
			c.accessID = values[0]
		case "private_key_path":
			c.keyPath = values[0]
		case "endpoint":
			c.endpoint, err = url.Parse(values[0])
			if err != nil || (c.endpoint.Scheme != "http" && c.endpoint.Scheme != "https") || c.endpoint.Host == "" {
				return nil, errors.New("gcsstore: parameter endpoint: want http://host:port")
			}
		default:
			return nil, fmt.Errorf("gcsstore: unknown parameter %.60q", name)
		}
	}
	if c.endpoint != nil && (c.accessID == "" || c.keyPath == "") {
		return nil, errors.New("gcsstore: parameter endpoint needs access_id and private_key_path")
	}
	return c, nil
}

// open opens the bucket. It does what gocloud's own opener does, which for lack of
// credentials prints to standard output.
func (c *config) open(ctx context.Context) (*blob.Bucket, error) {
	opts := &gcsblob.Options{GoogleAccessID: c.accessID}
	if c.keyPath != "" {
		key, err := os.ReadFile(c.keyPath)
		if err != nil {
			return nil, fmt.Errorf("gcsstore: %w", err)
		}
		opts.PrivateKey = key
	}
	if c.endpoint != nil {
		opts.ClientOptions = []option.ClientOption{option.WithEndpoint(c.endpoint.String() + "/storage/v1/"), storage.WithJSONReads()}
		return gcsblob.OpenBucket(ctx, gcp.NewAnonymousHTTPClient(gcp.DefaultTransport()), c.bucket, opts)
	}
	creds, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("gcsstore: %w", err)
	}
	client, err := gcp.NewHTTPClient(gcp.DefaultTransport(), gcp.CredentialsTokenSource(creds))
	if err != nil {
		return nil, fmt.Errorf("gcsstore: %w", err)
	}
	if err := findSigner(ctx, opts, creds.JSON, &client.Client); err != nil {
		return nil, err
	}
	return gcsblob.OpenBucket(ctx, client, c.bucket, opts)
}

// findSigner finds out who signs: whoever the URL names, or else the account of
// the credentials, or else the machine's.
func findSigner(ctx context.Context, opts *gcsblob.Options, credentials []byte, client *http.Client) error {
	var account struct {
		Email string `json:"client_email"`
		Key   string `json:"private_key"`
	}
	if len(credentials) > 0 {
		if err := json.Unmarshal(credentials, &account); err != nil {
			return errors.New("gcsstore: the default credentials are not JSON")
		}
	}
	switch {
	case opts.GoogleAccessID == "" && account.Email == "" && metadata.OnGCEWithContext(ctx):
		email, err := metadata.EmailWithContext(ctx, "")
		if err != nil {
			return fmt.Errorf("gcsstore: the machine's account: %w", err)
		}
		opts.GoogleAccessID = email
	case opts.GoogleAccessID == "":
		opts.GoogleAccessID = account.Email
	}
	if opts.GoogleAccessID == "" {
		return errors.New("gcsstore: the default credentials are of no service account: the parameter access_id has to name one that signs URLs")
	}
	if opts.PrivateKey == nil && account.Key != "" && account.Email == opts.GoogleAccessID {
		opts.PrivateKey = []byte(account.Key)
	}
	if opts.PrivateKey != nil {
		return nil
	}
	sign, err := iamSigner(ctx, opts.GoogleAccessID, option.WithHTTPClient(client))
	opts.MakeSignBytes = sign
	return err
}

// iamSigner lets the IAM service sign.
func iamSigner(
	ctx context.Context, accessID string, opts ...option.ClientOption,
) (func(context.Context) gcsblob.SignBytesFunc, error) {
	service, err := iamcredentials.NewService(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("gcsstore: %w", err)
	}
	return func(ctx context.Context) gcsblob.SignBytesFunc {
		return func(payload []byte) ([]byte, error) {
			answer, err := service.Projects.ServiceAccounts.SignBlob("projects/-/serviceAccounts/"+accessID,
				&iamcredentials.SignBlobRequest{Payload: base64.StdEncoding.EncodeToString(payload)}).Context(ctx).Do()
			if err != nil {
				return nil, fmt.Errorf("IAM: %w", err)
			}
			return base64.StdEncoding.DecodeString(answer.SignedBlob)
		}
	}, nil
}

// signer signs for where the bucket is.
func (c *config) signer(bucket *blob.Bucket) func(context.Context, string, string, time.Duration) (string, error) {
	return func(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
		opts := &blob.SignedURLOptions{Method: method, Expiry: ttl, BeforeSign: c.beforeSign}
		if method == http.MethodPut {
			opts.ContentType = blobstore.ContentType
		}
		return bucket.SignedURL(ctx, key, opts)
	}
}

func (c *config) beforeSign(as func(any) bool) error {
	var opts *storage.SignedURLOptions
	if !as(&opts) {
		return errors.New("gcsstore: the bucket is not one of Google")
	}
	opts.Scheme = storage.SigningSchemeV4
	if c.endpoint != nil {
		opts.Style, opts.Hostname, opts.Insecure = storage.PathStyle(), c.endpoint.Host, strings.EqualFold(c.endpoint.Scheme, "http")
	}
	return nil
}
