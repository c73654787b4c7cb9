/* The face of auth/: the server's signing key, tokens for identities, and their validation (spec/04 §4, spec/01 §6.2, spec/07 §14.1).
 *
 * Threads: a `struct lc_auth` is immutable after opening except for its caches of validated tokens and of issuers' keys, which have locks of their own; every
 * function here may be called from any thread. Ownership: claims hold one reference on their payload until lc_auth_claims_release.
 */
#ifndef LC_AUTH_H
#define LC_AUTH_H
#include "../types/types.h"

#define LC_AUTH_ISSUER "localhost"      /* the local issuer (spec/04 §4.2) */
#define LC_AUTH_IDC_ISSUER "spacetimedb-idc-v1"
#define LC_AUTH_NAME_MAX_BYTES 128u     /* of an issuer and of a subject */
#define LC_AUTH_TOKEN_MAX_BYTES 16384u  /* longer tokens are refused as InvalidToken */
#define LC_AUTH_LEEWAY_S 60             /* grace after `exp` */
#define LC_AUTH_WEBSOCKET_TOKEN_S 60    /* life of a websocket token (spec/04 §3.13) */
#define LC_AUTH_UUID_TEXT_BYTES 37u     /* with NUL */

struct lc_auth;

/* What a valid token says. Plain data apart from the payload reference. */
struct lc_auth_claims {
  struct lc_identity identity;             /* derived from issuer and subject */
  char issuer[LC_AUTH_NAME_MAX_BYTES + 1]; /* UTF-8, NUL-terminated, 1..128 bytes, no NUL inside */
  char subject[LC_AUTH_NAME_MAX_BYTES + 1];
  int64_t issued_at_s;
  bool has_expiry;
  int64_t expires_at_s;
  struct lc_shared *payload;               /* payload JSON exactly as presented: what modules see as the JWT */
};
static inline struct lc_slice lc_auth_payload(const struct lc_auth_claims *c) { return c->payload ? lc_slice(c->payload->data, c->payload->len) : lc_slice(NULL, 0); }
/* Takes a second reference for *to, which is overwritten without being released. */
void lc_auth_claims_copy(struct lc_auth_claims *to, const struct lc_auth_claims *from);
void lc_auth_claims_release(struct lc_auth_claims *c); /* zeroes *c; a zeroed *c is allowed */

/* Loads the P-256 key pair from two PEM files (PKCS#8, SubjectPublicKeyInfo). Both missing and `create`: generates the pair and writes the
 * files (private 0600, folders created). Errors of spec/04 §4.4; LC_INVALID when the two do not belong together. env: clock and randomness
 * (borrowed for the life of the object). */
enum lc_status lc_auth_open(const char *private_path, const char *public_path, bool create, const struct lc_env *env, struct lc_auth **out, struct lc_error *err);
/* The same with `id_ecdsa` and `id_ecdsa.pub` in `dir`. */
enum lc_status lc_auth_open_dir(const char *dir, bool create, const struct lc_env *env, struct lc_auth **out, struct lc_error *err);
/* A pair in memory only (in-memory server, tests). */
enum lc_status lc_auth_open_memory(const struct lc_env *env, struct lc_auth **out, struct lc_error *err);
void lc_auth_free(struct lc_auth *auth); /* NULL is allowed */

/* SubjectPublicKeyInfo PEM text; belongs to `auth`. */
struct lc_slice lc_auth_public_key_pem(const struct lc_auth *auth);

/* Text of a random UUID version 4, lower case. */
void lc_auth_uuid(const struct lc_auth *auth, char out[LC_AUTH_UUID_TEXT_BYTES]);
/* Fresh database or client identity: random UUID under the local issuer; no token (spec/01 §6.2). */
void lc_auth_fresh_identity(const struct lc_auth *auth, struct lc_identity *out);

/* Signs a token for issuer and subject (1..128 bytes each, else LC_INVALID) with claims in the order of spec/04 §4.2 and appends its text to
 * `token`. lifetime_s: 0 means without `exp` (spec/07 §14.1). claims: filled as validation would, may be NULL. */
enum lc_status lc_auth_sign(const struct lc_auth *auth, struct lc_slice issuer, struct lc_slice subject, int64_t lifetime_s, struct lc_buf *token, struct lc_auth_claims *claims, struct lc_error *err);
/* Anonymous caller: fresh UUID subject, local issuer, no expiry. */
enum lc_status lc_auth_mint(const struct lc_auth *auth, struct lc_buf *token, struct lc_auth_claims *claims, struct lc_error *err);
/* The claims of a validated token, re-signed with the local key and expiring in 60 s; extra claims are kept (spec/04 §3.13). */
enum lc_status lc_auth_websocket_token(const struct lc_auth *auth, const struct lc_auth_claims *claims, struct lc_buf *token, struct lc_error *err);

/* Validates a client token by spec/04 §4.3: local key first whatever the issuer, else the error of the local issuer, else with the keys of the issuer it names (OpenID discovery).
 * Returns LC_DENIED with the text for the 401 body, LC_NOMEM, or LC_OK with *out filled. Recently validated tokens cost one hash look-up. LC_PENDING: the issuer's keys are being
 * fetched; `wait` (NULL: nobody) is told once, on any thread, when to ask again. LC_CONFLICT with the same text: they would have to be, but too many are. Never waits itself. */
struct lc_auth_wait { void (*done)(void *arg); void *arg; };
enum lc_status lc_auth_validate(struct lc_auth *auth, struct lc_slice token, const struct lc_auth_wait *wait, struct lc_auth_claims *out, struct lc_error *err);
void lc_auth_stop(struct lc_auth *auth); /* nothing is fetched any more, and all who wait are told; blocks for a second or so */
/* Value of an `Authorization` header → the token in it (points into `header`). LC_INVALID with "Authorization is invalid: malformed token"
 * for anything but a Bearer token: the 400 of spec/04 §4.1. */
enum lc_status lc_auth_bearer(struct lc_slice header, struct lc_slice *token, struct lc_error *err);

/* Token by which database `sender` calls database `receiver` of this host or a peer (spec/07 §8.3): 60 s. */
enum lc_status lc_auth_idc_sign(const struct lc_auth *auth, const struct lc_identity *sender, const struct lc_identity *receiver, struct lc_buf *token, struct lc_error *err);
/* Verifies one addressed to `receiver`; LC_DENIED with text otherwise. */
enum lc_status lc_auth_idc_verify(const struct lc_auth *auth, struct lc_slice token, const struct lc_identity *receiver, struct lc_identity *sender, struct lc_error *err);

#endif
