/** What a record of the log has of the entry that it replaced, as the columns of an entry. */
export const REPLACED_COLUMNS = `replaced_digest, replaced_expires_at AS expires_at,
  replaced_metadata AS metadata, replaced_hash AS blob_hash, replaced_size AS blob_size,
  replaced_value AS value`;
