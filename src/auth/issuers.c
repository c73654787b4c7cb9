/* Foreign issuers and their key sets: OpenID discovery, what is remembered of it and for how long (spec/04 §4.3, spec/07 §14.1).
 *
 * Keys are good for FRESH_S; after that the next use has them fetched again beside it, and after STALE_S a use waits for that; a set that cannot be
 * fetched again is used until EXPIRY_S. A key name that is not in the set has it fetched again, and so does a failure, both not before RETRY_S have passed
 * since the last attempt; until then the answer is what is known. One fetch an issuer at a time, whoever asks; each on a thread of its own, a bounded
 * number of them, some kept for issuers that have had keys. Number of issuers, of fetches and of those that wait are bounded.
 *
 * Threads: everything here is guarded by `lock`; nothing is fetched or called back under it. Callers: token.c.
 */
#include "auth_internal.h"
#include <jansson.h>
#include <stdio.h>

enum { FRESH_S = 300, STALE_S = 600, EXPIRY_S = 7200, RETRY_S = 10, MAX_ISSUERS = 256, MAX_FETCHES = 32, MAX_NEW_FETCHES = 24, MAX_WAITING = 4096, MAX_URL_BYTES = 2048 };
#define SECOND_NS 1000000000ll

struct waiter { struct waiter *next; struct lc_auth_wait wait; };
struct auth_issuer {
  struct auth_issuer *next;
  char name[LC_AUTH_NAME_MAX_BYTES + 1];
  struct auth_keys *keys;           /* NULL: none yet */
  bool was_tried, fetching;
  int64_t fetched_ns, tried_ns, used_ns; /* of `keys`; end of the last attempt; last use */
  struct waiter *waiters;
};

static int64_t now_ns(const struct lc_auth *auth) { return auth->env->monotonic_ns(auth->env->ctx); }

void auth_issuers_init(struct auth_issuers *s) {
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->idle, NULL);
  s->fetch = auth_fetch;
}
static void issuer_free(struct auth_issuer *i) {
  auth_keys_unref(i->keys);
  lc_free(i);
}
void auth_issuers_stop(struct auth_issuers *s) {
  atomic_store(&s->stop, true);
  pthread_mutex_lock(&s->lock);
  while (s->n_fetching) pthread_cond_wait(&s->idle, &s->lock);
  pthread_mutex_unlock(&s->lock);
}
void auth_issuers_free(struct auth_issuers *s) {
  auth_issuers_stop(s);
  while (s->first) {
    struct auth_issuer *i = s->first;
    s->first = i->next;
    issuer_free(i);
  }
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->idle);
}

/* ---- fetching ---- */

/* Address of the key set in a discovery document. */
static char *jwks_uri(struct lc_slice document, bool https_only, struct lc_error *err) {
  json_error_t error;
  json_t *object = json_loadb((const char *)document.data, document.len, 0, &error);
  const json_t *uri = json_object_get(object, "jwks_uri");
  char *copy = NULL;
  if (!object) lc_fail(err, LC_INVALID, "the OpenID configuration is not JSON: %s", error.text);
  else if (!json_is_string(uri) || json_string_length(uri) > MAX_URL_BYTES) lc_fail(err, LC_INVALID, "the OpenID configuration has no `jwks_uri` of a sensible length");
  else if (!(https_only ? auth_url_is_https(json_string_value(uri)) : auth_url_is_http(json_string_value(uri)))) lc_fail(err, LC_INVALID, "Invalid OIDC URL scheme: the `jwks_uri` is no plain %s address", https_only ? "https" : "http or https");
  else if (!(copy = lc_strdup_n(json_string_value(uri), json_string_length(uri)))) lc_fail(err, LC_NOMEM, "out of memory");
  json_decref(object);
  return copy;
}
static struct auth_keys *fetch_keys(const struct auth_issuers *s, const char *name, struct lc_error *err) {
  static const char path[] = "/.well-known/openid-configuration";
  char url[LC_AUTH_NAME_MAX_BYTES + sizeof path];
  size_t n = strlen(name);
  struct lc_buf document = {0};
  struct auth_keys *keys = NULL;
  while (n && name[n - 1] == '/') n--;
  snprintf(url, sizeof url, "%.*s%s", (int)n, name, path);
  char *uri = s->fetch(url, &s->stop, &document, err) == LC_OK ? jwks_uri(lc_buf_slice(&document), auth_url_is_https(url), err) : NULL;
  lc_buf_clear(&document);
  if (uri && s->fetch(uri, &s->stop, &document, err) == LC_OK) keys = auth_keys_parse(lc_buf_slice(&document), err);
  lc_free(uri);
  lc_buf_free(&document);
  return keys;
}

struct fetch { struct lc_auth *auth; struct auth_issuer *issuer; };
static void *fetch_main(void *arg) {
  struct fetch f = *(struct fetch *)arg;
  struct auth_issuers *s = &f.auth->issuers;
  struct lc_error err = {0};
  lc_free(arg);
  pthread_setname_np(pthread_self(), "oidc");
  struct auth_keys *keys = fetch_keys(s, f.issuer->name, &err); /* an issuer being fetched stays where it is */
  if (!keys && !atomic_load(&s->stop)) lc_log(LC_LOG_WARN, "keys of issuer %s: %s", f.issuer->name, err.text);
  pthread_mutex_lock(&s->lock);
  struct auth_keys *old = NULL;
  struct auth_issuer *i = f.issuer;
  i->tried_ns = now_ns(f.auth);
  i->was_tried = true;
  i->fetching = false;
  if (keys) {
    old = i->keys;
    i->keys = keys;
    i->fetched_ns = i->tried_ns;
  }
  struct waiter *waiters = i->waiters;
  i->waiters = NULL;
  for (struct waiter *w = waiters; w; w = w->next) s->n_waiting--;
  pthread_mutex_unlock(&s->lock);
  auth_keys_unref(old);
  while (waiters) {
    struct waiter *w = waiters;
    waiters = w->next;
    w->wait.done(w->wait.arg);
    lc_free(w);
  }
  pthread_mutex_lock(&s->lock); /* last, since whoever stops us waits for it */
  s->n_fetching--;
  pthread_cond_broadcast(&s->idle);
  pthread_mutex_unlock(&s->lock);
  return NULL;
}
/* Lock held. False: not now. */
static bool start_fetch(struct lc_auth *auth, struct auth_issuer *i) {
  struct auth_issuers *s = &auth->issuers;
  if (i->fetching) return true;
  if (atomic_load(&s->stop) || s->n_fetching >= (i->keys ? MAX_FETCHES : MAX_NEW_FETCHES)) return false;
  struct fetch *f = lc_alloc(sizeof *f);
  pthread_attr_t attr;
  pthread_t thread;
  if (!f) return false;
  *f = (struct fetch){auth, i};
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  bool started = pthread_create(&thread, &attr, fetch_main, f) == 0;
  pthread_attr_destroy(&attr);
  if (!started) lc_free(f);
  s->n_fetching += started;
  i->fetching = started;
  return started;
}

/* ---- looking up ---- */

static struct auth_issuer *find(const struct auth_issuers *s, struct lc_slice name) {
  struct auth_issuer *i = s->first;
  while (i && !lc_slice_eq_str(name, i->name)) i = i->next;
  return i;
}
/* Lock held. NULL: no memory, or all are busy. */
static struct auth_issuer *add(struct auth_issuers *s, struct lc_slice name) {
  if (s->n == MAX_ISSUERS) { /* the least recently used one goes, those without keys first */
    struct auth_issuer **oldest = NULL;
    for (struct auth_issuer **at = &s->first; *at; at = &(*at)->next) {
      if ((*at)->fetching) continue;
      bool worse = !oldest || (!(*at)->keys && (*oldest)->keys) || (!(*at)->keys == !(*oldest)->keys && (*at)->used_ns < (*oldest)->used_ns);
      if (worse) oldest = at;
    }
    if (!oldest) return NULL;
    struct auth_issuer *gone = *oldest;
    *oldest = gone->next;
    issuer_free(gone);
    s->n--;
  }
  struct auth_issuer *i = lc_alloc_zero(1, sizeof *i);
  if (!i) return NULL;
  memcpy(i->name, name.data, name.len);
  i->next = s->first;
  s->first = i;
  s->n++;
  return i;
}

enum decision { USE, USE_AND_FETCH, WAIT, NONE };
static enum decision decide(const struct auth_issuer *i, const struct lc_slice *kid, int64_t now) {
  if (!i) return WAIT;
  bool may_fetch = i->fetching || !i->was_tried || now - i->tried_ns >= RETRY_S * SECOND_NS;
  int64_t age = now - i->fetched_ns;
  if (!i->keys || age >= EXPIRY_S * SECOND_NS) return may_fetch ? WAIT : NONE;
  if (may_fetch && (age >= STALE_S * SECOND_NS || !auth_keys_know(i->keys, kid))) return WAIT;
  return may_fetch && age >= FRESH_S * SECOND_NS ? USE_AND_FETCH : USE;
}

/* Lock held. LC_PENDING or LC_CONFLICT; i NULL: it is new. */
static enum lc_status await(struct lc_auth *auth, struct auth_issuer *i, struct lc_slice name, int64_t now, const struct lc_auth_wait *wait) {
  struct auth_issuers *s = &auth->issuers;
  struct waiter *w = NULL;
  if (s->n_waiting >= MAX_WAITING || (wait && !(w = lc_alloc(sizeof *w)))) return LC_CONFLICT;
  if (!i && s->n_fetching < MAX_NEW_FETCHES && !atomic_load(&s->stop)) i = add(s, name);
  if (i) i->used_ns = now;
  if (!i || !start_fetch(auth, i)) {
    lc_free(w);
    return LC_CONFLICT;
  }
  if (w) {
    *w = (struct waiter){i->waiters, *wait};
    i->waiters = w;
    s->n_waiting++;
  }
  return LC_PENDING;
}

enum lc_status auth_issuers_keys(struct lc_auth *auth, struct lc_slice name, const struct lc_slice *kid, const struct lc_auth_wait *wait, struct auth_keys **keys, int64_t *good_until_ns) {
  struct auth_issuers *s = &auth->issuers;
  int64_t now = now_ns(auth);
  pthread_mutex_lock(&s->lock);
  struct auth_issuer *i = find(s, name);
  enum decision d = decide(i, kid, now);
  enum lc_status status = d == WAIT ? await(auth, i, name, now, wait) : d == NONE ? LC_DENIED : LC_OK;
  if (status == LC_OK) {
    if (d == USE_AND_FETCH) start_fetch(auth, i);
    i->used_ns = now;
    *keys = i->keys;
    *good_until_ns = i->fetched_ns + FRESH_S * SECOND_NS;
    auth_keys_ref(*keys);
  }
  pthread_mutex_unlock(&s->lock);
  return status;
}
