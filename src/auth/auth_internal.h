/* What the files of auth/ share: the key object, base64url, signatures, the cache of validated tokens, foreign issuers and their keys. */
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
  int64_t good_until_ns; /* monotonic: then it is validated anew; INT64_MAX: never */
};
struct auth_cache {
  pthread_mutex_t lock;
  struct auth_cache_entry *entries[AUTH_CACHE_SETS][AUTH_CACHE_WAYS]; /* [0] is the more recent one */
};
/* Public keys of an issuer: immutable, counted (jwks.c). */
struct auth_keys;
struct auth_issuer;
/* Known foreign issuers (issuers.c). */
struct auth_issuers {
  pthread_mutex_t lock;
  pthread_cond_t idle; /* n_fetching has fallen */
  struct auth_issuer *first;
  uint32_t n, n_fetching, n_waiting;
  atomic_bool stop;
  /* auth_fetch, or a test's */
  enum lc_status (*fetch)(const char *url, const atomic_bool *stop, struct lc_buf *body, struct lc_error *err);
};
struct lc_auth {
  const struct lc_env *env;
  EVP_PKEY *key; /* private and public half */
  struct lc_buf public_pem;
  struct auth_cache cache;
  struct auth_issuers issuers;
};

/* keys.c */
bool auth_sign_es256(const struct lc_auth *auth, struct lc_slice message, uint8_t signature[AUTH_SIGNATURE_BYTES]);
bool auth_verify_es256(EVP_PKEY *key, struct lc_slice message, struct lc_slice signature); /* key: P-256 */
bool auth_verify_rs256(EVP_PKEY *key, struct lc_slice message, struct lc_slice signature); /* key: RSA */
/* base64url without padding; decoding refuses padding, other characters and non-zero trailing bits. */
void auth_base64_encode(struct lc_buf *out, struct lc_slice bytes);
bool auth_base64_decode(struct lc_buf *out, struct lc_slice text);

/* cache.c */
void auth_cache_init(struct auth_cache *cache);
void auth_cache_free(struct auth_cache *cache);
bool auth_cache_get(struct auth_cache *cache, const uint8_t hash[32], int64_t now_ns, struct lc_auth_claims *out);
void auth_cache_put(struct auth_cache *cache, const uint8_t hash[32], const struct lc_auth_claims *claims, int64_t good_until_ns);

/* jwks.c. kid NULL: the token names no key. */
struct auth_keys *auth_keys_parse(struct lc_slice text, struct lc_error *err); /* one reference; NULL: LC_INVALID, LC_NOMEM. Keys that are not for us are left out */
void auth_keys_ref(struct auth_keys *k);
void auth_keys_unref(struct auth_keys *k); /* NULL is allowed */
bool auth_keys_know(const struct auth_keys *k, const struct lc_slice *kid); /* a key of that name, or one without a name, is there */
/* With the keys of that name; if there is none, with those without a name; without kid with all. Only keys of the algorithm's kind are tried. */
bool auth_keys_verify(const struct auth_keys *k, const struct lc_slice *kid, bool is_es256, struct lc_slice message, struct lc_slice signature);

/* fetch.c: GET of a document, blocking. LC_IO, LC_LIMIT, LC_NOMEM with a text for the log. *stop ends it within a second. */
enum lc_status auth_fetch(const char *url, const atomic_bool *stop, struct lc_buf *body, struct lc_error *err);
bool auth_url_is_http(const char *url); /* or https */
bool auth_url_is_https(const char *url);

/* issuers.c. name: 1..128 bytes without NUL. */
void auth_issuers_init(struct auth_issuers *s);
void auth_issuers_stop(struct auth_issuers *s); /* ends what is being fetched; blocking */
void auth_issuers_free(struct auth_issuers *s);
/* LC_OK: *keys (a reference for the caller), fresh until *good_until_ns. LC_PENDING: they are being fetched, and `wait` (NULL: nobody) will be told once. LC_CONFLICT: they should
 * be, but too many are, or wait, or we stop. LC_DENIED: there are none, as was found a moment ago. */
enum lc_status auth_issuers_keys(struct lc_auth *auth, struct lc_slice name, const struct lc_slice *kid, const struct lc_auth_wait *wait, struct auth_keys **keys, int64_t *good_until_ns);

#endif
