/* Owns: the public keys of foreign issuers (spec/04 §4.3 step 3, spec/07 §14.1): OpenID discovery, key sets, their cache, and those who wait for them.
 *
 * Keys are fetched by threads of their own, never by who asks: it is told when they are there, or when they could not be had. A fetch follows at most MAX_REDIRECTS, takes
 * FETCH_LIMIT_S at most and brings DOCUMENT_MAX_BYTES at most; a failure is remembered for RETRY_S, and so long a key that an issuer does not have is not asked for again. What is
 * older than AUTH_REFRESH_S is fetched anew in the background; what nobody has used for EXPIRY_S is forgotten.
 * Invariants: `lock` guards everything; an issuer that is being fetched is not evicted; each waiter is told exactly once.
 * Callers: token.c, from any thread.
 */
#include "auth_internal.h"
#include <curl/curl.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { MAX_ISSUERS = 256, MAX_KEYS = 64, MAX_THREADS = 4, MAX_WAITERS = 4096, MAX_REDIRECTS = 3, FETCH_LIMIT_S = 10, RETRY_S = 10, EXPIRY_S = 7200, DOCUMENT_MAX_BYTES = 1 << 20, RSA_MIN_BITS = 2048 };

struct key { char *id; /* NULL: none */ EVP_PKEY *key; bool is_rsa; };
struct waiter { struct waiter *next; struct lc_auth_wait wait; };
struct issuer {
  char name[LC_AUTH_NAME_MAX_BYTES + 1]; /* "": unused */
  struct key *keys; uint32_t n_keys;
  bool has_keys, is_wanted, is_fetching;
  int64_t fetched_s, tried_s, used_s;    /* tried: the last fetch, whatever came of it */
  struct waiter *waiters;
};
struct auth_issuers {
  pthread_mutex_t lock;
  pthread_cond_t ended;
  struct issuer issuers[MAX_ISSUERS];
  uint32_t n_waiters, n_threads;
  atomic_bool stop;
};

/* ---- keys ---- */

static void keys_free(struct key *keys, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    free(keys[i].id);
    EVP_PKEY_free(keys[i].key);
  }
  lc_free(keys);
}
static bool number_of(const json_t *jwk, const char *name, struct lc_buf *out) {
  const json_t *text = json_object_get(jwk, name);
  return json_is_string(text) && auth_base64_decode(out, lc_slice(json_string_value(text), json_string_length(text))) && out->len;
}
static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build) {
  EVP_PKEY *key = NULL;
  OSSL_PARAM *params = build ? OSSL_PARAM_BLD_to_param(build) : NULL;
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
  if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) key = NULL;
  EVP_PKEY_CTX_free(ctx);
  OSSL_PARAM_free(params);
  return key;
}
static EVP_PKEY *ec_key(const json_t *jwk) {
  struct lc_buf x = {0}, y = {0}, point = {0};
  const char *curve = json_string_value(json_object_get(jwk, "crv"));
  OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
  EVP_PKEY *key = NULL;
  if (build && curve && strcmp(curve, "P-256") == 0 && number_of(jwk, "x", &x) && number_of(jwk, "y", &y) && x.len == 32 && y.len == 32) {
    lc_buf_u8(&point, 4); /* uncompressed */
    lc_buf_slice_append(&point, lc_buf_slice(&x));
    lc_buf_slice_append(&point, lc_buf_slice(&y));
    if (lc_buf_ok(&point) && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 && OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) == 1)
      key = key_from("EC", build);
  }
  OSSL_PARAM_BLD_free(build);
  lc_buf_free(&x);
  lc_buf_free(&y);
  lc_buf_free(&point);
  return key;
}
static EVP_PKEY *rsa_key(const json_t *jwk) {
  struct lc_buf n = {0}, e = {0};
  OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
  BIGNUM *modulus = NULL, *exponent = NULL;
  EVP_PKEY *key = NULL;
  if (build && number_of(jwk, "n", &n) && number_of(jwk, "e", &e) && n.len <= 1024 && e.len <= 8) {
    modulus = BN_bin2bn(n.data, (int)n.len, NULL);
    exponent = BN_bin2bn(e.data, (int)e.len, NULL);
    if (modulus && exponent && BN_num_bits(modulus) >= RSA_MIN_BITS && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
      key = key_from("RSA", build);
  }
  OSSL_PARAM_BLD_free(build);
  BN_free(modulus);
  BN_free(exponent);
  lc_buf_free(&n);
  lc_buf_free(&e);
  return key;
}
/* The keys of a set that can verify: others (symmetric ones, other curves, OKP) are skipped. false: it is no key set, or memory. */
static bool parse_keys(struct lc_slice text, struct key **keys, uint32_t *n, struct lc_error *err) {
  json_error_t at;
  json_t *set = json_loadb((const char *)text.data, text.len, 0, &at), *list = json_object_get(set, "keys"), *jwk;
  size_t i;
  *n = 0;
  *keys = json_is_array(list) ? lc_alloc_zero(MAX_KEYS, sizeof **keys) : NULL;
  if (!*keys) lc_fail(err, LC_INVALID, "the key set is no JSON object with a list `keys`");
  json_array_foreach(list, i, jwk) {
    const char *type = json_string_value(json_object_get(jwk, "kty")), *id = json_string_value(json_object_get(jwk, "kid"));
    bool is_rsa = type && strcmp(type, "RSA") == 0;
    EVP_PKEY *key = !*keys || *n == MAX_KEYS || !type ? NULL : is_rsa ? rsa_key(jwk) : strcmp(type, "EC") == 0 ? ec_key(jwk) : NULL;
    if (key) (*keys)[(*n)++] = (struct key){id ? strdup(id) : NULL, key, is_rsa};
  }
  ERR_clear_error();
  json_decref(set);
  return *keys != NULL;
}

static bool verify(const struct key *k, bool is_es256, struct lc_slice message, struct lc_slice signature) {
  if (k->is_rsa == is_es256) return false; /* the algorithm is of another kind of key */
  if (is_es256) return auth_verify_with(k->key, message, signature);
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 && EVP_DigestVerify(ctx, signature.data, signature.len, message.data, message.len) == 1;
  EVP_MD_CTX_free(ctx);
  ERR_clear_error();
  return ok;
}

/* ---- fetching ---- */

struct document { struct lc_buf body; const atomic_bool *stop; bool is_too_large; };
static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  struct document *d = arg;
  if (d->body.len + size * n > DOCUMENT_MAX_BYTES) return d->is_too_large = true, 0;
  lc_buf_append(&d->body, data, size * n);
  return lc_buf_ok(&d->body) ? size * n : 0;
}
static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t e) {
  (void)a, (void)b, (void)c, (void)e;
  return atomic_load(((struct document *)arg)->stop);
}
static void init_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }
static bool get(const char *url, struct document *d, struct lc_error *err) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_curl);
  if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0) return lc_fail(err, LC_INVALID, "Invalid OIDC URL scheme: %.200s", url), false;
  char detail[CURL_ERROR_SIZE] = "";
  long status = 0;
  CURL *curl = curl_easy_init();
  lc_buf_clear(&d->body);
  CURLcode rc = CURLE_OUT_OF_MEMORY;
  if (curl) {
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)FETCH_LIMIT_S);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, d);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
  }
  if (d->is_too_large) lc_fail(err, LC_LIMIT, "OIDC/JWKS request failed: %.200s sends more than %d bytes", url, DOCUMENT_MAX_BYTES);
  else if (rc != CURLE_OK) lc_fail(err, LC_IO, "OIDC/JWKS request failed: %.200s: %s", url, detail[0] ? detail : curl_easy_strerror(rc));
  else if (status != 200) lc_fail(err, LC_IO, "OIDC/JWKS request failed: %.200s answers %ld", url, status);
  return rc == CURLE_OK && status == 200;
}
static bool fetch_keys(const char *name, const atomic_bool *stop, struct key **keys, uint32_t *n, struct lc_error *err) {
  char url[LC_AUTH_NAME_MAX_BYTES + 64];
  struct document d = {.stop = stop};
  size_t len = strlen(name);
  while (len && name[len - 1] == '/') len--;
  snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)len, name);
  bool ok = get(url, &d, err);
  json_t *configuration = ok ? json_loadb((const char *)d.body.data, d.body.len, 0, NULL) : NULL;
  const char *uri = json_string_value(json_object_get(configuration, "jwks_uri"));
  if (ok && !uri) lc_fail(err, LC_INVALID, "OIDC/JWKS request failed: %.200s names no `jwks_uri`", url);
  ok = ok && uri && strlen(uri) <= 4096 && get(uri, &d, err) && parse_keys(lc_buf_slice(&d.body), keys, n, err);
  json_decref(configuration);
  lc_buf_free(&d.body);
  return ok;
}

/* ---- the cache ---- */

static int64_t now_s(const struct lc_auth *auth) { return auth->env->monotonic_ns(auth->env->ctx) / 1000000000; }

/* With the lock. The ones who waited, to be told without it. */
static struct waiter *take_waiters(struct auth_issuers *a, struct issuer *i) {
  struct waiter *w = i->waiters;
  i->waiters = NULL;
  for (struct waiter *x = w; x; x = x->next) a->n_waiters--;
  return w;
}
static void tell(struct waiter *w) {
  while (w) {
    struct waiter *next = w->next;
    w->wait.done(w->wait.arg);
    lc_free(w);
    w = next;
  }
}

static void *fetch_main(void *arg) {
  struct lc_auth *auth = arg;
  struct auth_issuers *a = auth->issuers;
  pthread_setname_np(pthread_self(), "issuer-keys");
  pthread_mutex_lock(&a->lock);
  for (uint32_t at = 0; at < MAX_ISSUERS;) {
    struct issuer *i = &a->issuers[at];
    if (!i->is_wanted || atomic_load(&a->stop)) {
      at++;
      continue;
    }
    char name[sizeof i->name];
    struct key *keys = NULL;
    struct lc_error err = {0};
    uint32_t n = 0;
    memcpy(name, i->name, sizeof name);
    i->is_wanted = false;
    i->is_fetching = true;
    pthread_mutex_unlock(&a->lock);
    bool ok = fetch_keys(name, &a->stop, &keys, &n, &err);
    if (!ok) lc_log(LC_LOG_WARN, "issuer %s: %s", name, err.text);
    pthread_mutex_lock(&a->lock);
    i->is_fetching = false;
    i->tried_s = now_s(auth);
    if (ok) { /* keys that there were are good as long as no others are known */
      keys_free(i->keys, i->n_keys);
      i->keys = keys;
      i->n_keys = n;
      i->has_keys = true;
      i->fetched_s = i->tried_s;
    }
    struct waiter *w = take_waiters(a, i);
    pthread_mutex_unlock(&a->lock);
    tell(w);
    pthread_mutex_lock(&a->lock);
    at = 0; /* others may have come */
  }
  a->n_threads--;
  pthread_cond_broadcast(&a->ended);
  pthread_mutex_unlock(&a->lock);
  return NULL;
}

/* With the lock: its keys will be fetched; false: no thread can be had. */
static bool want(struct lc_auth *auth, struct issuer *i) {
  struct auth_issuers *a = auth->issuers;
  pthread_t id;
  pthread_attr_t attr;
  if (i->is_wanted || i->is_fetching) return true;
  if (atomic_load(&a->stop)) return false;
  if (a->n_threads < MAX_THREADS) {
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    i->is_wanted = true;
    if (pthread_create(&id, &attr, fetch_main, auth) == 0) a->n_threads++;
    else if (a->n_threads == 0) i->is_wanted = false;
    pthread_attr_destroy(&attr);
    return i->is_wanted;
  }
  return i->is_wanted = true;
}

/* With the lock. The issuer's entry, a new one if need be; NULL: all are in use by others' fetches. */
static struct issuer *entry_of(struct lc_auth *auth, const char *name) {
  struct auth_issuers *a = auth->issuers;
  struct issuer *oldest = NULL;
  for (uint32_t k = 0; k < MAX_ISSUERS; k++) {
    struct issuer *i = &a->issuers[k];
    if (strcmp(i->name, name) == 0) return i;
    if (i->is_wanted || i->is_fetching) continue;
    if (!oldest || (oldest->name[0] && (!i->name[0] || i->used_s < oldest->used_s))) oldest = i;
  }
  if (!oldest) return NULL;
  keys_free(oldest->keys, oldest->n_keys);
  *oldest = (struct issuer){0};
  strcpy(oldest->name, name);
  return oldest;
}

/* With the lock. */
static enum lc_status await(struct lc_auth *auth, struct issuer *i, const struct lc_auth_wait *wait) {
  struct auth_issuers *a = auth->issuers;
  if (!wait) return want(auth, i) ? LC_PENDING : LC_DENIED;
  struct waiter *w = a->n_waiters < MAX_WAITERS ? lc_alloc(sizeof *w) : NULL;
  if (!want(auth, i) || !w) {
    lc_free(w);
    return LC_DENIED;
  }
  *w = (struct waiter){i->waiters, *wait};
  i->waiters = w;
  a->n_waiters++;
  return LC_PENDING;
}

enum lc_status auth_issuer_verify(struct lc_auth *auth, const char *name, const char *key_id, bool is_es256, struct lc_slice message, struct lc_slice signature, const struct lc_auth_wait *wait, struct lc_error *err) {
  struct auth_issuers *a = auth->issuers;
  int64_t now = now_s(auth);
  enum lc_status st = LC_DENIED;
  lc_fail(err, LC_DENIED, "Error fetching public key for issuer %s", name);
  pthread_mutex_lock(&a->lock);
  struct issuer *i = entry_of(auth, name);
  if (i && i->has_keys && now - i->used_s > EXPIRY_S) { /* as if it had never been asked */
    keys_free(i->keys, i->n_keys);
    i->keys = NULL;
    i->n_keys = 0;
    i->has_keys = false;
    i->tried_s = 0;
  }
  if (i) i->used_s = now;
  if (i && !i->has_keys) {
    if (i->is_wanted || i->is_fetching || !i->tried_s || now - i->tried_s >= RETRY_S) st = await(auth, i, wait);
  } else if (i) {
    bool has_id = false, is_tried = false, fits = false;
    for (uint32_t k = 0; key_id && k < i->n_keys; k++) has_id = has_id || (i->keys[k].id && strcmp(i->keys[k].id, key_id) == 0);
    for (uint32_t k = 0; k < i->n_keys && st != LC_OK; k++) {
      const struct key *key = &i->keys[k];
      if (key_id && (has_id ? !key->id || strcmp(key->id, key_id) != 0 : key->id != NULL)) continue;
      is_tried = true;
      fits = fits || key->is_rsa != is_es256;
      if (verify(key, is_es256, message, signature)) st = LC_OK;
    }
    if (st != LC_OK) lc_fail(err, LC_DENIED, !is_tried ? "Specified key ID not found in JWKs" : is_es256 && !fits ? "Invalid token: InvalidAlgorithm" : "Invalid token: InvalidSignature");
    if (!is_tried && now - i->tried_s >= RETRY_S) st = await(auth, i, wait); /* perhaps a new one */
    else if (now - i->fetched_s > AUTH_REFRESH_S && now - i->tried_s >= RETRY_S) want(auth, i);
  }
  pthread_mutex_unlock(&a->lock);
  return st;
}

bool auth_issuers_init(struct lc_auth *auth) {
  struct auth_issuers *a = auth->issuers = lc_alloc_zero(1, sizeof *a);
  if (!a) return false;
  pthread_mutex_init(&a->lock, NULL);
  pthread_cond_init(&a->ended, NULL);
  return true;
}
void auth_issuers_stop(struct lc_auth *auth) {
  struct auth_issuers *a = auth->issuers;
  if (!a) return;
  pthread_mutex_lock(&a->lock);
  atomic_store(&a->stop, true);
  while (a->n_threads) pthread_cond_wait(&a->ended, &a->lock);
  for (uint32_t k = 0; k < MAX_ISSUERS; k++) {
    struct waiter *w = take_waiters(a, &a->issuers[k]);
    pthread_mutex_unlock(&a->lock);
    tell(w);
    pthread_mutex_lock(&a->lock);
  }
  pthread_mutex_unlock(&a->lock);
}
void auth_issuers_free(struct lc_auth *auth) {
  struct auth_issuers *a = auth->issuers;
  if (!a) return;
  auth_issuers_stop(auth);
  for (uint32_t k = 0; k < MAX_ISSUERS; k++) keys_free(a->issuers[k].keys, a->issuers[k].n_keys);
  pthread_cond_destroy(&a->ended);
  pthread_mutex_destroy(&a->lock);
  lc_free(a);
}
