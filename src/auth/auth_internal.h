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
};

/* keys.c */
bool auth_sign_es256(const struct lc_auth *auth, struct lc_slice message, uint8_t signature[AUTH_SIGNATURE_BYTES]);
bool auth_verify_es256(const struct lc_auth *auth, struct lc_slice message, struct lc_slice signature);
/* base64url without padding; decoding refuses padding, other characters and non-zero trailing bits. */
void auth_base64_encode(struct lc_buf *out, struct lc_slice bytes);
bool auth_base64_decode(struct lc_buf *out, struct lc_slice text);

/* cache.c */
void auth_cache_init(struct auth_cache *cache);
void auth_cache_free(struct auth_cache *cache);
bool auth_cache_get(struct auth_cache *cache, const uint8_t hash[32], struct lc_auth_claims *out);
void auth_cache_put(struct auth_cache *cache, const uint8_t hash[32], const struct lc_auth_claims *claims);

#endif
