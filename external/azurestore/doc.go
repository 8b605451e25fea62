// Package azurestore keeps externalized batches in a container of Azure Blob
// Storage. Importing it links Azure's SDK.
//
//	store, err := azurestore.Open(ctx, "azblob://container", blobstore.Options{})
//	offload, err := external.New(external.Options{Store: store})
//
// URLs are signed (service SAS) with the account's key: AZURE_STORAGE_ACCOUNT with
// AZURE_STORAGE_KEY, or AZURE_STORAGE_CONNECTION_STRING. Other credentials cannot
// sign, and Open says so.
//
// There are no upload URLs: Azure refuses a PUT without the header x-ms-blob-type,
// which the clients of the protocol do not know of.
//
// # Lifecycle
//
// Nothing is deleted by this package. Give the storage account a management policy
// (az storage account management-policy create --policy @rule.json) for the
// container and the prefix, which is "vgirpc/" unless Options say otherwise:
//
//	{"rules": [{"name": "vgirpc", "enabled": true, "type": "Lifecycle", "definition": {
//	  "filters": {"blobTypes": ["blockBlob"], "prefixMatch": ["container/vgirpc/"]},
//	  "actions": {
//	    "baseBlob": {"delete": {"daysAfterCreationGreaterThan": 1}},
//	    "snapshot": {"delete": {"daysAfterCreationGreaterThan": 1}},
//	    "version": {"delete": {"daysAfterCreationGreaterThan": 1}}
//	  }}}]}
//
// Azure looks once a day, so an object lives for one to three of them; use more
// days when Options.TTL is longer than a day. Soft delete keeps, and charges for,
// what the rule deleted; blocks of an upload that was interrupted go by themselves
// after a week.
package azurestore
