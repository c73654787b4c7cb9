/* Recently validated tokens by the hash of their text: a reconnecting client costs a look-up instead of a signature check.
 *
 * Two-way sets, the least recently used of the two is replaced, so memory is bounded by AUTH_CACHE_SETS * AUTH_CACHE_WAYS entries.
 * Only tokens that were found valid enter; expiry is checked by the caller at each use. A foreign
 * issuer's stays as long as its keys are fresh. Called by token.c from any thread.
 */
#include "auth_internal.h"

void auth_cache_init(struct auth_cache *cache) { pthread_mutex_init(&cache->lock, NULL); }

static void entry_free(struct auth_cache_entry *entry) {
  if (!entry) return;
  lc_auth_claims_release(&entry->claims);
  lc_free(entry);
}

void auth_cache_free(struct auth_cache *cache) {
  for (uint32_t i = 0; i < AUTH_CACHE_SETS; i++)
    for (uint32_t way = 0; way < AUTH_CACHE_WAYS; way++) entry_free(cache->entries[i][way]);
  pthread_mutex_destroy(&cache->lock);
}

static struct auth_cache_entry **set_of(struct auth_cache *cache, const uint8_t hash[32]) {
  uint32_t word;
  memcpy(&word, hash, sizeof word);
  return cache->entries[word % AUTH_CACHE_SETS];
}

bool auth_cache_get(struct auth_cache *cache, const uint8_t hash[32], int64_t now_ns, struct lc_auth_claims *out) {
  bool found = false;
  pthread_mutex_lock(&cache->lock);
  struct auth_cache_entry **set = set_of(cache, hash);
  for (uint32_t way = 0; way < AUTH_CACHE_WAYS && !found; way++) {
    struct auth_cache_entry *entry = set[way];
    if (!entry || memcmp(entry->hash, hash, 32) != 0 || now_ns >= entry->good_until_ns) continue;
    lc_auth_claims_copy(out, &entry->claims);
    set[way] = set[0];
    set[0] = entry;
    found = true;
  }
  pthread_mutex_unlock(&cache->lock);
  return found;
}

void auth_cache_put(struct auth_cache *cache, const uint8_t hash[32], const struct lc_auth_claims *claims, int64_t good_until_ns) {
  if (claims->payload->len > AUTH_CACHE_PAYLOAD_MAX_BYTES) return;
  struct auth_cache_entry *entry = lc_alloc_zero(1, sizeof *entry);
  if (!entry) return; /* not remembering is always allowed */
  memcpy(entry->hash, hash, 32);
  entry->good_until_ns = good_until_ns;
  lc_auth_claims_copy(&entry->claims, claims);
  pthread_mutex_lock(&cache->lock);
  struct auth_cache_entry **set = set_of(cache, hash);
  uint32_t way = AUTH_CACHE_WAYS - 1; /* one that is there already (two threads validated it at once) or the oldest */
  for (uint32_t i = 0; i < AUTH_CACHE_WAYS; i++)
    if (set[i] && memcmp(set[i]->hash, hash, 32) == 0) way = i;
  struct auth_cache_entry *old = set[way];
  for (; way > 0; way--) set[way] = set[way - 1];
  set[0] = entry;
  pthread_mutex_unlock(&cache->lock);
  entry_free(old);
}
