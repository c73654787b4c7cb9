/* Key sets of foreign issuers: JSON Web Keys (RFC 7517, 7518 §6) that fit RS256 or ES256, and the check of a signature with them (spec/04 §4.3,
 * spec/07 §14.1).
 *
 * A set is immutable and counted. A key of another kind, or one that is broken, is left out and the rest of the set holds; sizes are bounded, because a
 * stranger's set is tried on a network thread. A key belongs to one algorithm by its kind: no other is ever tried with it. Callers: issuers.c, token.c.
 */
#include "auth_internal.h"
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

enum { MAX_KEYS = 32, MAX_KID_BYTES = 256, MIN_RSA_BITS = 2048, MAX_RSA_BITS = 4096, MAX_EXPONENT_BYTES = 4 };

struct key {
  EVP_PKEY *key;
  char *kid; /* NULL: none */
  bool is_ec;
};
struct auth_keys {
  atomic_uint refs;
  uint32_t n;
  struct key keys[MAX_KEYS];
};

void auth_keys_ref(struct auth_keys *k) { atomic_fetch_add(&k->refs, 1); }
void auth_keys_unref(struct auth_keys *k) {
  if (!k || atomic_fetch_sub(&k->refs, 1) != 1) return;
  for (uint32_t i = 0; i < k->n; i++) {
    EVP_PKEY_free(k->keys[i].key);
    lc_free(k->keys[i].kid);
  }
  lc_free(k);
}

static EVP_PKEY *from_parameters(const char *type, OSSL_PARAM_BLD *b) {
  OSSL_PARAM *p = OSSL_PARAM_BLD_to_param(b);
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
  EVP_PKEY *key = NULL;
  if (p && ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, p) != 1) key = NULL;
  EVP_PKEY_CTX_free(ctx);
  OSSL_PARAM_free(p);
  return key;
}

/* Bytes of a base64url member. */
static bool member(const json_t *jwk, const char *name, struct lc_buf *out) {
  const json_t *v = json_object_get(jwk, name);
  return json_is_string(v) && auth_base64_decode(out, lc_slice(json_string_value(v), json_string_length(v))) && out->len > 0;
}

static EVP_PKEY *rsa_key(const json_t *jwk) {
  struct lc_buf n = {0}, e = {0};
  EVP_PKEY *key = NULL;
  if (member(jwk, "n", &n) && member(jwk, "e", &e) && n.len <= MAX_RSA_BITS / 8 + 1 && e.len <= MAX_EXPONENT_BYTES) {
    BIGNUM *modulus = BN_bin2bn(n.data, (int)n.len, NULL), *exponent = BN_bin2bn(e.data, (int)e.len, NULL);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    bool fits = modulus && exponent && BN_num_bits(modulus) >= MIN_RSA_BITS && BN_num_bits(modulus) <= MAX_RSA_BITS && BN_is_odd(modulus) && BN_is_odd(exponent) && !BN_is_one(exponent);
    if (fits && b && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, exponent) == 1) key = from_parameters("RSA", b);
    OSSL_PARAM_BLD_free(b);
    BN_free(modulus);
    BN_free(exponent);
  }
  lc_buf_free(&n);
  lc_buf_free(&e);
  return key;
}

static EVP_PKEY *ec_key(const json_t *jwk) {
  const char *curve = json_string_value(json_object_get(jwk, "crv"));
  struct lc_buf x = {0}, y = {0};
  EVP_PKEY *key = NULL;
  if (curve && strcmp(curve, "P-256") == 0 && member(jwk, "x", &x) && member(jwk, "y", &y) && x.len == 32 && y.len == 32) {
    uint8_t point[65] = {4};
    memcpy(point + 1, x.data, 32);
    memcpy(point + 33, y.data, 32);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    if (b && OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 && OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1)
      key = from_parameters("EC", b); /* which refuses a point that is not on the curve */
    OSSL_PARAM_BLD_free(b);
  }
  lc_buf_free(&x);
  lc_buf_free(&y);
  return key;
}

/* A key for us, or NULL. */
static EVP_PKEY *parse_key(const json_t *jwk, bool *is_ec) {
  const char *kind = json_string_value(json_object_get(jwk, "kty")), *use = json_string_value(json_object_get(jwk, "use")), *alg = json_string_value(json_object_get(jwk, "alg"));
  if (!kind || (use && strcmp(use, "sig") != 0)) return NULL;
  *is_ec = strcmp(kind, "EC") == 0;
  if (!*is_ec && strcmp(kind, "RSA") != 0) return NULL;
  if (alg && strcmp(alg, *is_ec ? "ES256" : "RS256") != 0) return NULL;
  EVP_PKEY *key = *is_ec ? ec_key(jwk) : rsa_key(jwk);
  if (!key) ERR_clear_error();
  return key;
}

struct auth_keys *auth_keys_parse(struct lc_slice text, struct lc_error *err) {
  json_error_t error;
  json_t *object = json_loadb((const char *)text.data, text.len, 0, &error);
  const json_t *list = json_object_get(object, "keys");
  struct auth_keys *k = NULL;
  if (!object) {
    lc_fail(err, LC_INVALID, "the key set is not JSON: %s", error.text);
  } else if (!json_is_array(list)) {
    lc_fail(err, LC_INVALID, "the key set has no list `keys`");
  } else if (!(k = lc_alloc_zero(1, sizeof *k))) {
    lc_fail(err, LC_NOMEM, "out of memory");
  } else {
    atomic_store(&k->refs, 1);
    for (size_t i = 0; i < json_array_size(list) && k->n < MAX_KEYS; i++) {
      const json_t *jwk = json_array_get(list, i), *kid = json_object_get(jwk, "kid");
      bool is_ec;
      if ((kid && !json_is_string(kid)) || (kid && json_string_length(kid) > MAX_KID_BYTES)) continue;
      EVP_PKEY *key = parse_key(jwk, &is_ec);
      char *name = key && kid ? lc_strdup_n(json_string_value(kid), json_string_length(kid)) : NULL;
      if (key && kid && !name) EVP_PKEY_free(key);
      else if (key) k->keys[k->n++] = (struct key){key, name, is_ec};
    }
  }
  json_decref(object);
  return k;
}

static bool is_named(const struct key *key, const struct lc_slice *kid) { return kid ? key->kid && lc_slice_eq_str(*kid, key->kid) : !key->kid; }
static bool has(const struct auth_keys *k, const struct lc_slice *kid) {
  for (uint32_t i = 0; i < k->n; i++)
    if (is_named(&k->keys[i], kid)) return true;
  return false;
}
bool auth_keys_know(const struct auth_keys *k, const struct lc_slice *kid) { return !kid || has(k, kid) || has(k, NULL); }

bool auth_keys_verify(const struct auth_keys *k, const struct lc_slice *kid, bool is_es256, struct lc_slice message, struct lc_slice signature) {
  bool all = !kid, unnamed = kid && !has(k, kid);
  for (uint32_t i = 0; i < k->n; i++) {
    const struct key *key = &k->keys[i];
    if (key->is_ec != is_es256 || !(all || is_named(key, unnamed ? NULL : kid))) continue;
    if (is_es256 ? auth_verify_es256(key->key, message, signature) : auth_verify_rs256(key->key, message, signature)) return true;
  }
  return false;
}
