/* Owns: queries, query sets and subscribers: subscribing, unsubscribing, the rows of a query (spec/03 §14.2, spec/05 §13-§15).
 *
 * A query is shared by every set whose plan has the same key. A subscription links a query to a client's set. Invariants: a query exists exactly while it has
 * links, and all its occurrences are in the predicate index as long; plans are compiled again when the schema version moves, and one that does not compile any
 * more ends its sets with the next commit that touches its tables. Callers: the face, evaluate.c.
 */
#include "live_internal.h"
#include <stdlib.h>

enum { MAX_QUERIES_PER_SET = 10000, BUCKETS_MIN = 64 };

struct lc_live *lc_live_new(struct lc_datastore *ds) {
  struct lc_live *l = lc_alloc_zero(1, sizeof *l);
  if (!l) return NULL;
  l->ds = ds;
  l->n_buckets = l->n_subscriber_buckets = BUCKETS_MIN;
  l->by_key = lc_alloc_zero(BUCKETS_MIN, sizeof *l->by_key);
  l->subscribers = lc_alloc_zero(BUCKETS_MIN, sizeof *l->subscribers);
  if (!l->by_key || !l->subscribers) {
    lc_live_free(l);
    return NULL;
  }
  l->schema_version = lc_datastore_schema_version(ds);
  return l;
}

static struct lc_read_view now(const struct lc_live *l) { return (struct lc_read_view){.ds = l->ds}; }

/* ---- subscribers ---- */

static struct subscriber *find_subscriber(struct lc_live *l, void *client) {
  struct subscriber *s = l->subscribers[lc_hash64(&client, sizeof client, 3) & (l->n_subscriber_buckets - 1)];
  while (s && s->client != client) s = s->bucket_next;
  return s;
}

static struct subscriber *need_subscriber(struct lc_live *l, void *client) {
  struct subscriber *s = find_subscriber(l, client);
  if (s) return s;
  if (l->n_subscribers >= l->n_subscriber_buckets) {
    uint32_t n = l->n_subscriber_buckets * 2;
    struct subscriber **p = lc_alloc_zero(n, sizeof(struct subscriber *));
    for (uint32_t i = 0; p && i < l->n_subscriber_buckets; i++)
      for (struct subscriber *x = l->subscribers[i], *next; x; x = next) {
        next = x->bucket_next;
        struct subscriber **head = &p[lc_hash64(&x->client, sizeof x->client, 3) & (n - 1)];
        x->bucket_next = *head;
        *head = x;
      }
    if (p) {
      lc_free(l->subscribers);
      l->subscribers = p;
      l->n_subscriber_buckets = n;
    }
  }
  s = lc_alloc_zero(1, sizeof *s);
  if (!s) return NULL;
  s->client = client;
  struct subscriber **head = &l->subscribers[lc_hash64(&client, sizeof client, 3) & (l->n_subscriber_buckets - 1)];
  s->bucket_next = *head;
  *head = s;
  l->n_subscribers++;
  return s;
}

void live_drop_empty_subscriber(struct lc_live *l, struct subscriber *s) {
  if (s->sets) return;
  struct subscriber **head = &l->subscribers[lc_hash64(&s->client, sizeof s->client, 3) & (l->n_subscriber_buckets - 1)];
  while (*head != s) head = &(*head)->bucket_next;
  *head = s->bucket_next;
  l->n_subscribers--;
  lc_free(s);
}

/* ---- queries ---- */

static void free_occurrences(struct query *q, struct occurrence *o) {
  if (o != &q->only) lc_free(o);
}
static void forget_interest(struct lc_live *l, struct query *q) {
  for (uint32_t i = 0; i < q->n_occurrences; i++) interest_remove(&l->interest, &q->occurrences[i]);
  free_occurrences(q, q->occurrences);
  q->occurrences = NULL;
  q->parts = NULL;
  q->n_occurrences = q->n_parts = 0;
}
/* Takes the plan over on success: its parts, and what changed rows concern it. */
static bool adopt_plan(struct lc_live *l, struct query *q, struct lc_plan *plan) {
  uint32_t n = 0, n_parts = lc_plan_n_fragments(plan);
  for (uint32_t f = 0; f < n_parts; f++) n += lc_fragment_n_relations(plan, f);
  if (n == 1 && !q->occurrences) { /* else those before may have to come back */
    q->occurrences = &q->only;
    q->parts = &q->only_part;
  } else if ((q->occurrences = lc_alloc_zero(1, n * sizeof *q->occurrences + n_parts * sizeof *q->parts))) {
    q->parts = (struct part *)(q->occurrences + n);
  } else return false;
  bool ok = true;
  for (uint32_t f = 0; f < n_parts && ok; f++) {
    q->parts[f].n_relations = (uint8_t)lc_fragment_n_relations(plan, f);
    q->parts[f].occurrences = &q->occurrences[q->n_occurrences];
    for (uint32_t r = 0; r < q->parts[f].n_relations && ok; r++) {
      const struct lc_table_info *t = lc_fragment_table(plan, f, r);
      struct occurrence *o = &q->occurrences[q->n_occurrences];
      struct lc_search search;
      struct lc_edge edge;
      *o = (struct occurrence){.query = q, .table_id = t->table_id, .fragment = (uint16_t)f, .relation = (uint16_t)r};
      lc_fragment_search(plan, f, r, &search);
      ok = interest_add(&l->interest, o, t, &search, lc_fragment_edge(plan, f, r, &edge) ? &edge : NULL);
      q->n_occurrences += ok;
    }
  }
  if (!ok) {
    forget_interest(l, q);
    return false;
  }
  q->plan = plan;
  q->table = lc_plan_table(plan);
  q->n_parts = n_parts;
  return true;
}

static void query_free(struct lc_live *l, struct query *q) {
  struct query **head = &l->by_key[q->key_hash & (l->n_buckets - 1)];
  while (*head != q) head = &(*head)->key_next;
  *head = q->key_next;
  l->n_queries--;
  forget_interest(l, q);
  lc_plan_free(q->plan);
  lc_free(q->error);
  lc_free((void *)(uintptr_t)q->sql.data);
  lc_free(q);
}

static void grow(struct lc_live *l) {
  if (l->n_queries < l->n_buckets) return;
  uint32_t n = l->n_buckets * 2;
  struct query **key = lc_alloc_zero(n, sizeof(struct query *));
  if (!key) return; /* longer chains, but right */
  for (uint32_t i = 0; i < l->n_buckets; i++)
    for (struct query *q = l->by_key[i], *next; q; q = next) {
      next = q->key_next;
      q->key_next = key[q->key_hash & (n - 1)];
      key[q->key_hash & (n - 1)] = q;
    }
  lc_free(l->by_key);
  l->by_key = key;
  l->n_buckets = n;
}

/* The query of a text for a caller: one that is there, or a new one, whose estimate goes into *sum (spec/05 §8). */
static struct query *need_query(struct lc_live *l, struct lc_slice sql, const struct lc_sql_caller *caller, uint64_t *sum, uint64_t *limit, struct lc_error *err) {
  struct lc_plan *plan;
  if (lc_sql_compile(now(l), sql, LC_SQL_SUBSCRIPTION, caller, &plan, err) != LC_OK) {
    struct lc_error cause = *err;
    lc_fail(err, cause.status, "%s, executing: `%.*s`", cause.text, (int)(sql.len < 1024 ? sql.len : 1024), (const char *)sql.data);
    return NULL;
  }
  struct lc_slice key = lc_plan_key(plan);
  uint64_t hash = lc_hash64(key.data, key.len, 4), of_caller;
  for (struct query *q = l->by_key[hash & (l->n_buckets - 1)]; q; q = q->key_next)
    if (q->key_hash == hash && q->plan && lc_slice_eq(lc_plan_key(q->plan), key)) {
      lc_plan_free(plan);
      return q;
    }
  uint64_t estimate = lc_plan_estimate(plan, now(l), &of_caller);
  *sum = *sum > UINT64_MAX - estimate ? UINT64_MAX : *sum + estimate;
  if (of_caller < *limit) *limit = of_caller;
  struct query *q = lc_alloc_zero(1, sizeof *q);
  char *text = lc_strdup_n(sql.data, sql.len);
  if (!q || !text || !adopt_plan(l, q, plan)) {
    lc_plan_free(plan);
    lc_free(q);
    lc_free(text);
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  grow(l);
  q->sql = lc_slice(text, sql.len);
  q->caller = *caller;
  q->key_hash = hash;
  q->key_next = l->by_key[hash & (l->n_buckets - 1)];
  l->by_key[hash & (l->n_buckets - 1)] = q;
  l->n_queries++;
  return q;
}

void live_set_free(struct lc_live *l, struct set *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    struct link *k = &s->links[i];
    if (k->query_prev) k->query_prev->query_next = k->query_next;
    else k->query->links = k->query_next;
    if (k->query_next) k->query_next->query_prev = k->query_prev;
    if (!k->query->links) query_free(l, k->query);
  }
  if (s->is_subscribed) l->counts.sets--;
  lc_free(s->links);
  lc_free(s);
}

/* A query that does not compile any more (why; NULL: it did not before): its tables are watched as a whole, and the next change of one ends its sets. */
static void break_query(struct lc_live *l, struct query *q, const struct lc_error *why) {
  static const struct lc_search any = {.kind = LC_SEARCH_ANY};
  uint32_t n = 0;
  q->is_broken = true;
  if (why) q->error = lc_strdup_n(why->text, strlen(why->text));
  for (uint32_t i = 0; i < q->n_occurrences; i++) {
    bool twice = false;
    for (uint32_t k = 0; k < n; k++) twice = twice || q->occurrences[k].table_id == q->occurrences[i].table_id;
    if (twice) continue;
    q->occurrences[n] = (struct occurrence){.query = q, .table_id = q->occurrences[i].table_id};
    if (interest_add(&l->interest, &q->occurrences[n], NULL, &any, NULL)) n++;
    else l->has_unwatched = true;
  }
  q->n_occurrences = n;
}

/* Every plan is made again; nothing of the old schema may be pointed to meanwhile, so all are taken out of the index first. */
void live_follow_schema(struct lc_live *l) {
  uint64_t version = lc_datastore_schema_version(l->ds);
  if (version == l->schema_version) return;
  l->schema_version = version;
  for (uint32_t i = 0; i < l->n_buckets; i++)
    for (struct query *q = l->by_key[i]; q; q = q->key_next) {
      for (uint32_t k = 0; k < q->n_occurrences; k++) interest_remove(&l->interest, &q->occurrences[k]);
      lc_plan_free(q->plan);
      q->plan = NULL;
      q->n_parts = 0;
    }
  for (uint32_t i = 0; i < l->n_buckets; i++)
    for (struct query *q = l->by_key[i]; q; q = q->key_next) {
      struct lc_plan *plan;
      struct lc_error err = {0};
      struct occurrence *old = q->occurrences;
      uint32_t n_old = q->n_occurrences;
      enum lc_status st = q->is_broken ? LC_CONFLICT : lc_sql_compile(now(l), q->sql, LC_SQL_SUBSCRIPTION, &q->caller, &plan, &err);
      if (st == LC_OK) {
        q->n_occurrences = 0;
        if (adopt_plan(l, q, plan)) {
          free_occurrences(q, old);
          continue;
        }
        lc_plan_free(plan);
        lc_fail(&err, LC_NOMEM, "out of memory");
        q->occurrences = old;
        q->n_occurrences = n_old;
      }
      break_query(l, q, q->is_broken ? NULL : &err);
    }
}

/* ---- rows of a query ---- */

/* Does another set of the subscriber hold the query? */
static bool is_held_elsewhere(const struct set *s, const struct query *q) {
  for (const struct set *o = s->subscriber->sets; o; o = o->next)
    for (uint32_t i = 0; o != s && !o->is_apart && i < o->n; i++)
      if (o->links[i].query == q) return true;
  return false;
}
/* How often the answer about a set has the rows of one of its queries (spec/03 §14.3). */
static uint32_t copies_of(const struct set *s, const struct link *k, uint32_t flags) {
  if (!k->query->plan || (flags & LC_LIVE_NO_ROWS) || ((flags & LC_LIVE_NEW_ONLY) && is_held_elsewhere(s, k->query))) return 0;
  return s->is_apart ? k->copies : 1; /* v1's first way to subscribe knows no duplicates */
}
static enum lc_status set_rows(struct lc_live *l, const struct set *s, uint32_t flags, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  struct lc_live_answer *a = &l->answer;
  enum lc_status st = LC_OK;
  answer_clear(a);
  for (uint32_t i = 0; i < s->n; i++)
    for (uint32_t k = copies_of(s, &s->links[i], flags); k && st == LC_OK; k--) st = answer_add(a, s->links[i].query->plan, now(l), flags, NULL, err);
  if (st == LC_OK) answer_finish(a);
  *rows = a->rows;
  *n_rows = a->n;
  return st;
}
static struct set *find_set(struct lc_live *l, void *client, uint64_t id) {
  struct subscriber *s = find_subscriber(l, client);
  struct set *set = s ? s->sets : NULL;
  while (set && set->id != id) set = set->next;
  return set;
}
enum lc_status lc_live_set_rows(struct lc_live *l, void *client, uint64_t id, uint32_t flags, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  struct set *set = find_set(l, client, id);
  return set ? set_rows(l, set, flags, rows, n_rows, err) : lc_fail(err, LC_NOT_FOUND, "no such set");
}
uint64_t lc_live_set_cost(struct lc_live *l, void *client, uint64_t id, uint32_t flags) {
  const struct set *set = find_set(l, client, id);
  uint64_t sum = 0, limit;
  live_follow_schema(l);
  for (uint32_t i = 0; set && i < set->n && sum < UINT32_MAX; i++)
    for (uint32_t k = copies_of(set, &set->links[i], flags); k && sum < UINT32_MAX; k--) {
      uint64_t cost = lc_plan_estimate(set->links[i].query->plan, now(l), &limit);
      sum += cost < UINT32_MAX ? cost : UINT32_MAX;
    }
  return sum;
}
uint32_t lc_live_set_texts(struct lc_live *l, void *client, uint64_t id, uint32_t flags, struct lc_buf *texts) {
  const struct set *set = find_set(l, client, id);
  uint32_t n = 0;
  for (uint32_t i = 0; set && i < set->n; i++)
    for (uint32_t k = copies_of(set, &set->links[i], flags); k; k--, n++) lc_buf_bsatn_bytes(texts, set->links[i].query->sql);
  return n;
}

/* ---- subscribe, unsubscribe ---- */

static bool is_blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_everything(struct lc_slice sql) { /* SELECT * FROM *, any case and blanks (spec/03 §14.1) */
  static const char want[] = "select*from*";
  size_t at = 0;
  for (size_t i = 0; i < sql.len; i++) {
    uint8_t c = sql.data[i];
    if (is_blank(c)) continue;
    if (at == sizeof want - 1 || (c | (c >= 'A' && c <= 'Z' ? 0x20 : 0)) != want[at]) return false;
    at++;
  }
  return at == sizeof want - 1;
}

struct expansion { struct lc_buf texts; uint32_t n; bool is_owner; };
static void expand_table(void *ctx, const struct lc_table_info *t) {
  struct expansion *x = ctx;
  if (t->is_system || t->is_event || (!t->is_public && !x->is_owner)) return;
  if (t->view && t->view->params && t->view->params->n_fields) return; /* needs arguments (spec/07 §5.1) */
  struct lc_buf sql = {0};
  lc_buf_printf(&sql, "SELECT * FROM %.*s", (int)t->name.len, (const char *)t->name.data);
  lc_buf_bsatn_bytes(&x->texts, lc_buf_slice(&sql));
  lc_buf_free(&sql);
  x->n++;
}

enum lc_status lc_live_expand(const struct lc_live *l, const struct lc_sql_caller *caller, uint32_t n_queries, const struct lc_slice *queries, struct lc_buf *texts, uint32_t *n_texts, struct lc_error *err) {
  struct expansion x = {.texts = *texts, .is_owner = caller->is_owner};
  for (uint32_t i = 0; i < n_queries; i++) {
    struct lc_slice sql = queries[i];
    while (sql.len && is_blank(sql.data[0])) sql = lc_slice(sql.data + 1, sql.len - 1);
    while (sql.len && is_blank(sql.data[sql.len - 1])) sql.len--;
    if (is_everything(sql)) lc_datastore_each_table(l->ds, expand_table, &x);
    else lc_buf_bsatn_bytes(&x.texts, sql), x.n++;
  }
  *texts = x.texts;
  *n_texts = x.n;
  if (!lc_buf_ok(texts)) return lc_fail(err, LC_NOMEM, "out of memory");
  return x.n <= MAX_QUERIES_PER_SET ? LC_OK : lc_fail(err, LC_LIMIT, "a subscription may have at most %d queries, this one has %u", MAX_QUERIES_PER_SET, x.n);
}

enum lc_status lc_live_subscribe(struct lc_live *l, void *client, const struct lc_sql_caller *caller, uint64_t id, uint32_t flags, uint32_t n_queries, const struct lc_slice *queries,
                                 const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  live_follow_schema(l);
  struct subscriber *s = need_subscriber(l, client);
  struct set *set = lc_alloc_zero(1, sizeof *set);
  struct link *links = lc_alloc_zero(n_queries, sizeof *links);
  enum lc_status st = s && set && links ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  for (struct set *o = s ? s->sets : NULL; o && st == LC_OK; o = o->next)
    if (o->id == id) {
      char hex[65];
      lc_identity_hex(&caller->identity, hex);
      st = lc_fail(err, LC_EXISTS, "Subscription with id QuerySetId { id: %llu } already exists for client: %s", (unsigned long long)id, hex);
    }
  if (st == LC_OK) *set = (struct set){.subscriber = s, .id = id, .is_apart = flags & LC_LIVE_APART, .links = links};
  uint64_t sum = 0, limit = UINT64_MAX;
  for (uint32_t i = 0; i < n_queries && st == LC_OK; i++) {
    struct lc_slice sql = queries[i];
    struct query *q = NULL;
    if (sql.len == 0) st = lc_fail(err, LC_INVALID, "SubscriptionError: Empty string, executing: ``");
    else if (!(q = need_query(l, sql, caller, &sum, &limit, err))) st = err->status;
    if (q && (flags & LC_LIVE_NO_EVENTS) && q->table->is_event)
      st = lc_fail(err, LC_INVALID, "Subscribing to event tables requires WebSocket v2. Please upgrade your client SDK and regenerate your module bindings.");
    struct link *held = NULL;
    for (uint32_t k = 0; q && k < set->n && !held; k++) held = links[k].query == q ? &links[k] : NULL;
    if (held) held->copies++;
    if (!q || held) continue;
    struct link *k = &links[set->n++];
    *k = (struct link){.query = q, .set = set, .query_next = q->links, .copies = 1};
    if (q->links) q->links->query_prev = k;
    q->links = k;
  }
  if (st == LC_OK) st = lc_plan_check_limit(sum, limit, err);
  if (st == LC_OK) st = set_rows(l, set, flags, rows, n_rows, err);
  if (st == LC_OK) {
    struct set **at = &s->sets; /* ascending by id */
    while (*at && (*at)->id < id) at = &(*at)->next;
    set->next = *at;
    *at = set;
    set->is_subscribed = true;
    l->counts.sets++;
    return LC_OK;
  }
  if (set && set->links) live_set_free(l, set);
  else {
    lc_free(set);
    lc_free(links);
  }
  if (s) live_drop_empty_subscriber(l, s);
  return st;
}

enum lc_status lc_live_unsubscribe(struct lc_live *l, void *client, uint64_t id, uint32_t flags, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  live_follow_schema(l);
  struct subscriber *s = find_subscriber(l, client);
  if (!s) return lc_fail(err, LC_NOT_FOUND, "Client not found: the client has no subscriptions");
  struct set **at = &s->sets;
  while (*at && (*at)->id != id) at = &(*at)->next;
  struct set *set = *at;
  if (!set) return lc_fail(err, LC_NOT_FOUND, "Subscription not found: QuerySetId { id: %llu }", (unsigned long long)id);
  enum lc_status st = set_rows(l, set, flags, rows, n_rows, err);
  if (st != LC_OK) return st;
  *at = set->next;
  live_set_free(l, set);
  live_drop_empty_subscriber(l, s);
  return LC_OK;
}

void lc_live_drop_client(struct lc_live *l, void *client) {
  struct subscriber *s = find_subscriber(l, client);
  if (!s) return;
  for (struct set *set = s->sets, *next; set; set = next) {
    next = set->next;
    live_set_free(l, set);
  }
  s->sets = NULL;
  live_drop_empty_subscriber(l, s);
}

enum lc_status lc_live_one_off(struct lc_live *l, const struct lc_plan *plan, struct lc_query_rows *rows, struct lc_error *err) {
  answer_clear(&l->answer);
  enum lc_status st = answer_add(&l->answer, plan, now(l), LC_LIVE_WHOLE, NULL, err);
  if (st != LC_OK) return st;
  answer_finish(&l->answer);
  *rows = l->answer.rows[0];
  return LC_OK;
}

struct lc_live_counts lc_live_counts(const struct lc_live *l) {
  struct lc_live_counts counts = l->counts;
  counts.queries = l->n_queries;
  counts.subscribers = l->n_subscribers;
  return counts;
}

void lc_live_free(struct lc_live *l) {
  if (!l) return;
  for (uint32_t i = 0; l->subscribers && i < l->n_subscriber_buckets; i++)
    while (l->subscribers[i]) lc_live_drop_client(l, l->subscribers[i]->client);
  interest_free(&l->interest);
  lc_free(l->by_key);
  lc_free(l->subscribers);
  lc_live_answer_free(&l->answer);
  lc_arena_free(&l->arena);
  lc_free(l);
}
