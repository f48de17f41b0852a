/** Every bound of the key-value store, with its reason. Sizes are bytes unless the name says otherwise. */
export const LIMITS = {
  /** Workers KV's own limit; workerd's binding refuses longer keys too. */
  keyBytesMax: 512,
  /** Workers KV's own limit. */
  valueBytesMax: 25 * 1024 * 1024,
  /** Larger values travel by hash: one of them must not delay a batch of small ones. */
  inlineValueBytesMax: 64 * 1024,
  /** Workers KV's own limit, of the metadata's JSON text. */
  metadataBytesMax: 1_024,
  /** Workers KV's own limit: nothing expires sooner than this after it was written. */
  expirationTtlSecondsMin: 60,
  /** Workers KV's own limit of one page of a listing. */
  listKeysMax: 1_000,
  /** Workers KV's own limit of one bulk read through the binding. */
  bulkGetKeysMax: 100,
  /** wrangler sends bulk writes in pieces of 1,000; the documented limit is 10,000. */
  bulkWriteKeysMax: 10_000,
} as const;
