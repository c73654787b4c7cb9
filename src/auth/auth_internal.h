/* What the files of auth/ share: the key object, base64url, raw ES256 signatures and the cache of validated tokens. */
#ifndef LC_AUTH_INTERNAL_H
#define LC_AUTH_INTERNAL_H
#include "auth.h"
#include <openssl/evp.h>
#include <pthread.h>

#define AUTH_CACHE_SETS 1024u
#define AUTH_CACHE_WAYS 2u
#define AUTH_CACHE_PAYLOAD_MAX_BYTES 2048u /* tokens with a longer payload are not cached */
#define AUTH_SIGNATURE_BYTES 64u

struct auth_cache_entry {
  uint8_t hash[32]; /* BLAKE3 of the token */
  struct lc_auth_claims claims;
  int64_t until_s;  /* monotonic; 0: as long as it does not expire */
};
struct auth_cache {
  pthread_mutex_t lock;
  struct auth_cache_entry *entries[AUTH_CACHE_SETS][AUTH_CACHE_WAYS]; /* [0] is the more recent one */
};
struct lc_auth {
  const struct lc_env *env;
  EVP_PKEY *key; /* private and public half */
  struct lc_buf public_pem;
  struct auth_cache cache;
  struct auth_issuers *issuers;
};

/* keys.c */
bool auth_sign_es256(const struct lc_auth *auth, struct lc_slice message, uint8_t signature[AUTH_SIGNATURE_BYTES]);
bool auth_verify_es256(const struct lc_auth *auth, struct lc_slice message, struct lc_slice signature);
bool auth_verify_with(EVP_PKEY *key, struct lc_slice message, struct lc_slice signature); /* ES256, with a P-256 key */
/* base64url without padding; decoding refuses padding, other characters and non-zero trailing bits. */
void auth_base64_encode(struct lc_buf *out, struct lc_slice bytes);
bool auth_base64_decode(struct lc_buf *out, struct lc_slice text);

/* cache.c */
void auth_cache_init(struct auth_cache *cache);
void auth_cache_free(struct auth_cache *cache);
bool auth_cache_get(struct auth_cache *cache, const uint8_t hash[32], int64_t now_s, struct lc_auth_claims *out);
void auth_cache_put(struct auth_cache *cache, const uint8_t hash[32], const struct lc_auth_claims *claims, int64_t until_s);

/* issuers.c */
#define AUTH_REFRESH_S 300 /* keys, and what they have verified, are believed so long before they are looked at anew */
bool auth_issuers_init(struct lc_auth *auth); /* false: out of memory */
void auth_issuers_stop(struct lc_auth *auth); /* nothing is fetched any more, and nobody waits */
void auth_issuers_free(struct lc_auth *auth);
/* Whether the issuer `name` (1..128 bytes, an http or https URL) has signed the message, with the key `key_id` (NULL: any). LC_DENIED with the text of the 401; LC_PENDING: its
 * keys are being fetched, and `wait` will be told (NULL: nobody is). */
enum lc_status auth_issuer_verify(struct lc_auth *auth, const char *name, const char *key_id, bool is_es256, struct lc_slice message, struct lc_slice signature, const struct lc_auth_wait *wait, struct lc_error *err);

#endif
