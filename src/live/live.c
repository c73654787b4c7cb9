/* Subscriptions: query sets, shared queries, and the evaluation of committed deltas (spec/03 §14.2, §15.2; spec/05 §14-§18; DESIGN idea 4).
 *
 * A query is shared by every set whose plan has the same key. Queries that fix a column of their table to a value are found through a hash of
 * (table, column, value); the others are tried for each changed row of their table. Each query's delta is evaluated and encoded once per
 * commit. A subscription links a query to a client's set; the links of one client are merged into one message at emission.
 * Invariants: a query exists exactly while it has links; plans are compiled again when the schema version moves.
 */
#include "live.h"
#include <stdlib.h>

enum { MAX_QUERIES_PER_SET = 10000, BUCKETS_MIN = 64 };

/* ---- row lists (spec/03 §5) ---- */

void lc_row_list_clear(struct lc_row_list *l) {
  lc_buf_clear(&l->rows);
  lc_buf_clear(&l->offsets);
  l->n_rows = l->fixed_size_bytes = 0;
  l->variable = false;
}
void lc_row_list_free(struct lc_row_list *l) {
  lc_buf_free(&l->rows);
  lc_buf_free(&l->offsets);
}

void lc_row_list_add(struct lc_row_list *l, struct lc_slice row) {
  if (!l->variable && l->n_rows == 0) {
    l->fixed_size_bytes = (uint32_t)row.len;
    l->variable = row.len == 0 || row.len > UINT16_MAX;
  } else if (!l->variable && row.len != l->fixed_size_bytes) {
    l->variable = true;
    for (uint32_t i = 0; i < l->n_rows; i++) lc_buf_u64(&l->offsets, (uint64_t)i * l->fixed_size_bytes);
  }
  if (l->variable) lc_buf_u64(&l->offsets, l->rows.len);
  lc_buf_slice_append(&l->rows, row);
  l->n_rows++;
}

void lc_row_list_encode(const struct lc_row_list *l, struct lc_buf *out) {
  if (l->n_rows == 0 || l->variable) {
    lc_buf_u8(out, 1);
    lc_buf_u32(out, (uint32_t)(l->offsets.len / 8));
    lc_buf_slice_append(out, lc_buf_slice(&l->offsets));
  } else {
    lc_buf_u8(out, 0);
    lc_buf_u16(out, (uint16_t)l->fixed_size_bytes);
  }
  lc_buf_bsatn_bytes(out, lc_buf_slice(&l->rows));
}

/* ---- structures ---- */

struct query {
  struct lc_plan *plan;
  struct lc_slice sql;               /* owned */
  struct lc_sql_caller caller;       /* to compile again */
  struct link *links;                /* of all sets that hold it */
  uint32_t table_id;
  bool by_value; uint64_t value_hash;
  struct query *bucket_next;         /* in the value buckets, or in the scan list of all tables */
  struct query *key_next;            /* in the key buckets */
  uint64_t key_hash;
  /* of the commit being evaluated */
  struct lc_query_delta delta; struct lc_row_list inserts, deletes; struct lc_buf encoded; bool is_hit; struct query *hit_next;
};
struct link { struct query *query; struct set *set; struct link *query_prev, *query_next; };
struct set { struct subscriber *subscriber; uint32_t id; uint32_t n; struct link *links; struct set *next; uint32_t n_hits; };
struct subscriber { void *client; struct set *sets; struct subscriber *bucket_next; bool is_hit; struct subscriber *hit_next; };

struct lc_live {
  struct lc_datastore *ds;
  uint64_t schema_version;
  struct query **by_key, **by_value; struct query *scans; uint32_t n_queries, n_buckets;
  struct subscriber **subscribers; uint32_t n_subscribers, n_subscriber_buckets;
  struct lc_query_rows *rows; uint32_t cap_rows; struct lc_buf rows_bytes; /* answer of the last call */
};

struct lc_live *lc_live_new(struct lc_datastore *ds) {
  struct lc_live *l = lc_alloc_zero(1, sizeof *l);
  if (!l) return NULL;
  l->ds = ds;
  l->n_buckets = l->n_subscriber_buckets = BUCKETS_MIN;
  l->by_key = lc_alloc_zero(BUCKETS_MIN, sizeof *l->by_key);
  l->by_value = lc_alloc_zero(BUCKETS_MIN, sizeof *l->by_value);
  l->subscribers = lc_alloc_zero(BUCKETS_MIN, sizeof *l->subscribers);
  if (!l->by_key || !l->by_value || !l->subscribers) {
    lc_live_free(l);
    return NULL;
  }
  l->schema_version = lc_datastore_schema_version(ds);
  return l;
}

/* ---- finding ---- */

static uint64_t hash_value(uint32_t table_id, uint16_t column, struct lc_slice value) { return lc_hash64(value.data, value.len, (uint64_t)table_id << 16 | column); }

static void unlist(struct query **head, struct query *q) {
  while (*head != q) head = &(*head)->bucket_next;
  *head = q->bucket_next;
}

static void place(struct lc_live *l, struct query *q) {
  uint16_t column;
  struct lc_slice value;
  q->table_id = lc_plan_table(q->plan)->table_id;
  q->by_value = lc_plan_equality(q->plan, &column, &value);
  if (q->by_value) q->value_hash = hash_value(q->table_id, column, value);
  struct query **head = q->by_value ? &l->by_value[q->value_hash & (l->n_buckets - 1)] : &l->scans;
  q->bucket_next = *head;
  *head = q;
}
static void displace(struct lc_live *l, struct query *q) { unlist(q->by_value ? &l->by_value[q->value_hash & (l->n_buckets - 1)] : &l->scans, q); }

static void grow(struct lc_live *l) {
  if (l->n_queries < l->n_buckets) return;
  uint32_t n = l->n_buckets * 2;
  struct query **key = lc_alloc_zero(n, sizeof(struct query *)), **value = lc_alloc_zero(n, sizeof(struct query *));
  if (!key || !value) { /* longer chains, but right */
    lc_free(key);
    lc_free(value);
    return;
  }
  for (uint32_t i = 0; i < l->n_buckets; i++) {
    for (struct query *q = l->by_key[i], *next; q; q = next) {
      next = q->key_next;
      q->key_next = key[q->key_hash & (n - 1)];
      key[q->key_hash & (n - 1)] = q;
    }
    for (struct query *q = l->by_value[i], *next; q; q = next) {
      next = q->bucket_next;
      q->bucket_next = value[q->value_hash & (n - 1)];
      value[q->value_hash & (n - 1)] = q;
    }
  }
  lc_free(l->by_key);
  lc_free(l->by_value);
  l->by_key = key;
  l->by_value = value;
  l->n_buckets = n;
}

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

static void drop_empty_subscriber(struct lc_live *l, struct subscriber *s) {
  if (s->sets) return;
  struct subscriber **head = &l->subscribers[lc_hash64(&s->client, sizeof s->client, 3) & (l->n_subscriber_buckets - 1)];
  while (*head != s) head = &(*head)->bucket_next;
  *head = s->bucket_next;
  l->n_subscribers--;
  lc_free(s);
}

/* ---- queries ---- */

static void query_free(struct lc_live *l, struct query *q) {
  struct query **head = &l->by_key[q->key_hash & (l->n_buckets - 1)];
  while (*head != q) head = &(*head)->key_next;
  *head = q->key_next;
  displace(l, q);
  l->n_queries--;
  lc_plan_free(q->plan);
  lc_row_list_free(&q->inserts);
  lc_row_list_free(&q->deletes);
  lc_buf_free(&q->encoded);
  lc_free((void *)(uintptr_t)q->sql.data);
  lc_free(q);
}

static struct query *need_query(struct lc_live *l, struct lc_slice sql, const struct lc_sql_caller *caller, struct lc_error *err) {
  struct lc_plan *plan;
  if (lc_sql_compile(l->ds, sql, LC_SQL_SUBSCRIPTION, caller, &plan, err) != LC_OK) {
    struct lc_error cause = *err;
    lc_fail(err, cause.status, "%s, executing: `%.*s`", cause.text, (int)(sql.len < 1024 ? sql.len : 1024), (const char *)sql.data);
    return NULL;
  }
  struct lc_slice key = lc_plan_key(plan);
  uint64_t hash = lc_hash64(key.data, key.len, 4);
  for (struct query *q = l->by_key[hash & (l->n_buckets - 1)]; q; q = q->key_next)
    if (q->key_hash == hash && lc_slice_eq(lc_plan_key(q->plan), key)) {
      lc_plan_free(plan);
      return q;
    }
  struct query *q = lc_alloc_zero(1, sizeof *q);
  char *text = lc_strdup_n(sql.data, sql.len);
  if (!q || !text) {
    lc_plan_free(plan);
    lc_free(q);
    lc_free(text);
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  grow(l);
  q->plan = plan;
  q->sql = lc_slice(text, sql.len);
  q->caller = *caller;
  q->key_hash = hash;
  q->key_next = l->by_key[hash & (l->n_buckets - 1)];
  l->by_key[hash & (l->n_buckets - 1)] = q;
  place(l, q);
  l->n_queries++;
  return q;
}

static void set_free(struct lc_live *l, struct set *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    struct link *k = &s->links[i];
    if (k->query_prev) k->query_prev->query_next = k->query_next;
    else k->query->links = k->query_next;
    if (k->query_next) k->query_next->query_prev = k->query_prev;
    if (!k->query->links) query_free(l, k->query);
  }
  lc_free(s->links);
  lc_free(s);
}

/* After a schema change every plan is compiled anew; one that no longer compiles keeps matching nothing until its set is left. */
static void follow_schema(struct lc_live *l) {
  uint64_t version = lc_datastore_schema_version(l->ds);
  if (version == l->schema_version) return;
  l->schema_version = version;
  for (uint32_t i = 0; i < l->n_buckets; i++)
    for (struct query *q = l->by_key[i]; q; q = q->key_next) {
      struct lc_plan *plan;
      if (lc_sql_compile(l->ds, q->sql, LC_SQL_SUBSCRIPTION, &q->caller, &plan, NULL) != LC_OK) continue;
      displace(l, q);
      lc_plan_free(q->plan);
      q->plan = plan;
      place(l, q);
    }
}

/* ---- rows of a query ---- */

static bool add_row(void *ctx, struct lc_slice row) {
  lc_row_list_add(ctx, row);
  return true;
}

/* Appends the query's rows to the answer; offsets into rows_bytes are turned into slices by finish_rows. */
static enum lc_status put_rows(struct lc_live *l, const struct lc_plan *plan, uint32_t *n, struct lc_error *err) {
  if (*n == l->cap_rows) {
    uint32_t cap = l->cap_rows ? l->cap_rows * 2 : 16;
    struct lc_query_rows *p = lc_realloc(l->rows, cap * sizeof *p);
    if (!p) return lc_fail(err, LC_NOMEM, "out of memory");
    l->rows = p;
    l->cap_rows = cap;
  }
  struct lc_row_list list = {0};
  enum lc_status st = lc_plan_run(plan, (struct lc_read_view){.ds = l->ds}, add_row, &list, err);
  const struct lc_table_info *t = lc_plan_table(plan);
  size_t at = l->rows_bytes.len;
  lc_row_list_encode(&list, &l->rows_bytes);
  l->rows[*n] = (struct lc_query_rows){.table = t, .table_name = t->name, .n_rows = list.n_rows, .row_list = {(const uint8_t *)(uintptr_t)at, l->rows_bytes.len - at}};
  ++*n;
  if (st == LC_OK && (!lc_buf_ok(&list.rows) || !lc_buf_ok(&list.offsets) || !lc_buf_ok(&l->rows_bytes))) st = lc_fail(err, LC_NOMEM, "out of memory for the rows of a query");
  lc_row_list_free(&list);
  return st;
}

static void finish_rows(struct lc_live *l, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) l->rows[i].row_list.data = l->rows_bytes.data + (uintptr_t)l->rows[i].row_list.data;
}

static enum lc_status set_rows(struct lc_live *l, const struct set *s, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  uint32_t n = 0;
  lc_buf_clear(&l->rows_bytes);
  for (uint32_t i = 0; i < s->n; i++) {
    const struct lc_table_info *t = lc_plan_table(s->links[i].query->plan);
    /* nothing is said of tables without rows (spec/03 §14.2); event tables never have any */
    if (!t || lc_view_row_count((struct lc_read_view){.ds = l->ds}, t->table_id) == 0) continue;
    enum lc_status st = put_rows(l, s->links[i].query->plan, &n, err);
    if (st != LC_OK) return st;
  }
  finish_rows(l, n);
  *rows = l->rows;
  *n_rows = n;
  return LC_OK;
}

/* ---- subscribe, unsubscribe ---- */

static bool is_everything(struct lc_slice sql) { /* SELECT * FROM *, any case and blanks (spec/03 §14.1) */
  static const char want[] = "select*from*";
  size_t at = 0;
  for (size_t i = 0; i < sql.len; i++) {
    uint8_t c = sql.data[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') continue;
    if (at == sizeof want - 1 || (c | (c >= 'A' && c <= 'Z' ? 0x20 : 0)) != want[at]) return false;
    at++;
  }
  return at == sizeof want - 1;
}

struct expansion { struct lc_buf texts; uint32_t n; bool is_owner; };
static void expand_table(void *ctx, const struct lc_table_info *t) {
  struct expansion *x = ctx;
  if (t->is_system || t->is_event || (!t->is_public && !x->is_owner)) return;
  struct lc_buf sql = {0};
  lc_buf_printf(&sql, "SELECT * FROM \"%.*s\"", (int)t->name.len, (const char *)t->name.data);
  lc_buf_bsatn_bytes(&x->texts, lc_buf_slice(&sql));
  lc_buf_free(&sql);
  x->n++;
}

enum lc_status lc_live_subscribe(struct lc_live *l, void *client, const struct lc_sql_caller *caller, uint32_t id, uint32_t n_queries, const struct lc_slice *queries,
                                 const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  follow_schema(l);
  struct expansion x = {.is_owner = caller->is_owner};
  for (uint32_t i = 0; i < n_queries; i++) {
    struct lc_slice sql = queries[i];
    while (sql.len && (*sql.data == ' ' || *sql.data == '\n')) sql = lc_slice(sql.data + 1, sql.len - 1);
    if (is_everything(sql)) lc_datastore_each_table(l->ds, expand_table, &x);
    else lc_buf_bsatn_bytes(&x.texts, sql), x.n++;
  }
  struct subscriber *s = need_subscriber(l, client);
  struct set *set = lc_alloc_zero(1, sizeof *set);
  struct link *links = lc_alloc_zero(x.n, sizeof *links);
  enum lc_status st = s && set && links && lc_buf_ok(&x.texts) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK && x.n > MAX_QUERIES_PER_SET) st = lc_fail(err, LC_LIMIT, "a subscription may have at most %d queries, this one has %u", MAX_QUERIES_PER_SET, x.n);
  for (struct set *o = s ? s->sets : NULL; o && st == LC_OK; o = o->next)
    if (o->id == id) {
      char hex[65];
      lc_identity_hex(&caller->identity, hex);
      st = lc_fail(err, LC_EXISTS, "Subscription with id QuerySetId { id: %u } already exists for client: %s", id, hex);
    }
  if (st == LC_OK) *set = (struct set){.subscriber = s, .id = id, .links = links};
  struct lc_reader r = lc_reader(lc_buf_slice(&x.texts));
  for (uint32_t i = 0; i < x.n && st == LC_OK; i++) {
    struct lc_slice sql = lc_read_bytes(&r);
    struct query *q = NULL;
    if (sql.len == 0) st = lc_fail(err, LC_INVALID, "SubscriptionError: Empty string, executing: ``");
    else if (!(q = need_query(l, sql, caller, err))) st = err->status;
    bool twice = false;
    for (uint32_t k = 0; q && k < set->n; k++) twice = twice || links[k].query == q;
    if (!q || twice) continue;
    struct link *k = &links[set->n++];
    *k = (struct link){.query = q, .set = set, .query_next = q->links};
    if (q->links) q->links->query_prev = k;
    q->links = k;
  }
  lc_buf_free(&x.texts);
  if (st == LC_OK) st = set_rows(l, set, rows, n_rows, err);
  if (st == LC_OK) {
    struct set **at = &s->sets; /* ascending by id */
    while (*at && (*at)->id < id) at = &(*at)->next;
    set->next = *at;
    *at = set;
    return LC_OK;
  }
  if (set && set->links) set_free(l, set);
  else {
    lc_free(set);
    lc_free(links);
  }
  if (s) drop_empty_subscriber(l, s);
  return st;
}

enum lc_status lc_live_unsubscribe(struct lc_live *l, void *client, uint32_t id, bool want_rows, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err) {
  follow_schema(l);
  struct subscriber *s = find_subscriber(l, client);
  if (!s) return lc_fail(err, LC_NOT_FOUND, "Client not found: the client has no subscriptions");
  struct set **at = &s->sets;
  while (*at && (*at)->id != id) at = &(*at)->next;
  struct set *set = *at;
  if (!set) return lc_fail(err, LC_NOT_FOUND, "Subscription not found: QuerySetId { id: %u }", id);
  *rows = NULL;
  *n_rows = 0;
  enum lc_status st = want_rows ? set_rows(l, set, rows, n_rows, err) : LC_OK;
  if (st != LC_OK) return st;
  *at = set->next;
  set_free(l, set);
  drop_empty_subscriber(l, s);
  return LC_OK;
}

void lc_live_drop_client(struct lc_live *l, void *client) {
  struct subscriber *s = find_subscriber(l, client);
  if (!s) return;
  for (struct set *set = s->sets, *next; set; set = next) {
    next = set->next;
    set_free(l, set);
  }
  s->sets = NULL;
  drop_empty_subscriber(l, s);
}

enum lc_status lc_live_one_off(struct lc_live *l, const struct lc_sql_caller *caller, struct lc_slice sql, struct lc_query_rows *rows, struct lc_error *err) {
  struct lc_plan *plan;
  uint32_t n = 0;
  enum lc_status st = lc_sql_compile(l->ds, sql, LC_SQL_SUBSCRIPTION, caller, &plan, err);
  if (st != LC_OK) return st;
  lc_buf_clear(&l->rows_bytes);
  st = put_rows(l, plan, &n, err);
  lc_plan_free(plan);
  if (st != LC_OK) return st;
  finish_rows(l, n);
  *rows = l->rows[0];
  return LC_OK;
}

/* ---- evaluation ---- */

static void hit(struct query *q, struct lc_slice row, bool is_insert, struct query **hits) {
  if (!lc_plan_matches(q->plan, row)) return;
  if (!q->is_hit) {
    q->is_hit = true;
    q->hit_next = *hits;
    *hits = q;
    lc_row_list_clear(&q->inserts);
    lc_row_list_clear(&q->deletes);
  }
  lc_row_list_add(is_insert ? &q->inserts : &q->deletes, row);
}

/* Looks a row up in the value index: once per column that could be fixed. */
static void match_values(struct lc_live *l, const struct lc_table_delta *d, struct lc_slice row, bool is_insert, struct query **hits) {
  const struct lc_type *type = d->table->row_type;
  const uint8_t *at = row.data;
  for (uint32_t c = 0; c < type->n_fields; c++) {
    const uint8_t *end = lc_bsatn_skip(type->fields[c].type, at);
    uint64_t hash = hash_value(d->table_id, (uint16_t)c, lc_slice(at, (size_t)(end - at)));
    for (struct query *q = l->by_value[hash & (l->n_buckets - 1)]; q; q = q->bucket_next)
      if (q->value_hash == hash && q->table_id == d->table_id) hit(q, row, is_insert, hits);
    at = end;
  }
}

static void encode(struct query *q) {
  const struct lc_table_info *t = lc_plan_table(q->plan);
  lc_buf_clear(&q->encoded);
  lc_row_list_encode(&q->inserts, &q->encoded);
  size_t split = q->encoded.len;
  lc_row_list_encode(&q->deletes, &q->encoded);
  if (!lc_buf_ok(&q->encoded) || !lc_buf_ok(&q->inserts.rows) || !lc_buf_ok(&q->deletes.rows)) lc_panic("out of memory while encoding a delta of %u rows", q->inserts.n_rows + q->deletes.n_rows);
  q->delta = (struct lc_query_delta){.table = t, .table_name = t->name, .is_event = t->is_event, .n_inserts = q->inserts.n_rows, .n_deletes = q->deletes.n_rows,
                                     .inserts = lc_slice(q->encoded.data, split), .deletes = lc_slice(q->encoded.data + split, q->encoded.len - split)};
}

static int by_table_name(const void *a, const void *b) {
  struct lc_slice x = (*(const struct lc_query_delta *const *)a)->table_name, y = (*(const struct lc_query_delta *const *)b)->table_name;
  int c = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
  return c ? c : x.len < y.len ? -1 : x.len > y.len;
}

static void emit_subscriber(struct subscriber *s, struct lc_arena *arena, void (*emit)(void *ctx, void *client, const struct lc_set_update *sets, uint32_t n_sets), void *ctx) {
  uint32_t n_sets = 0;
  for (struct set *set = s->sets; set; set = set->next) n_sets += set->n_hits > 0;
  struct lc_set_update *updates = lc_arena_alloc(arena, n_sets * sizeof *updates);
  uint32_t n = 0;
  for (struct set *set = s->sets; set; set = set->next) {
    if (!set->n_hits) continue;
    const struct lc_query_delta **deltas = lc_arena_alloc(arena, set->n_hits * sizeof(void *));
    if (!updates || !deltas) lc_panic("out of memory while sending an update");
    uint32_t k = 0;
    for (uint32_t i = 0; k < set->n_hits; i++)
      if (set->links[i].query->is_hit) deltas[k++] = &set->links[i].query->delta;
    if (k > 1) qsort(deltas, k, sizeof *deltas, by_table_name);
    updates[n++] = (struct lc_set_update){set->id, k, deltas};
    set->n_hits = 0;
  }
  emit(ctx, s->client, updates, n);
}

void lc_live_evaluate(struct lc_live *l, const struct lc_tx_delta *delta, void (*emit)(void *ctx, void *client, const struct lc_set_update *sets, uint32_t n_sets), void *ctx) {
  struct query *hits = NULL;
  struct subscriber *touched = NULL;
  if (l->n_queries == 0) return;
  follow_schema(l);
  for (uint32_t i = 0; i < delta->n_tables; i++) {
    const struct lc_table_delta *d = &delta->tables[i];
    for (uint32_t k = 0; k < d->n_inserts + d->n_deletes; k++) {
      bool is_insert = k < d->n_inserts;
      struct lc_slice row = is_insert ? d->inserts[k] : d->deletes[k - d->n_inserts];
      for (struct query *q = l->scans; q; q = q->bucket_next)
        if (q->table_id == d->table_id) hit(q, row, is_insert, &hits);
      match_values(l, d, row, is_insert, &hits);
    }
  }
  if (!hits) return;
  for (struct query *q = hits; q; q = q->hit_next) {
    encode(q);
    for (struct link *k = q->links; k; k = k->query_next) {
      struct subscriber *s = k->set->subscriber;
      k->set->n_hits++;
      if (s->is_hit) continue;
      s->is_hit = true;
      s->hit_next = touched;
      touched = s;
    }
  }
  struct lc_arena arena = {0};
  for (struct subscriber *s = touched; s; s = s->hit_next) {
    emit_subscriber(s, &arena, emit, ctx);
    s->is_hit = false;
  }
  lc_arena_free(&arena);
  for (struct query *q = hits; q; q = q->hit_next) {
    q->is_hit = false;
    for (int i = 0; i < 3; i++) lc_buf_free(&q->delta.cached[i]);
  }
}

void lc_live_free(struct lc_live *l) {
  if (!l) return;
  for (uint32_t i = 0; l->subscribers && i < l->n_subscriber_buckets; i++)
    while (l->subscribers[i]) lc_live_drop_client(l, l->subscribers[i]->client);
  lc_free(l->by_key);
  lc_free(l->by_value);
  lc_free(l->subscribers);
  lc_free(l->rows);
  lc_buf_free(&l->rows_bytes);
  lc_free(l);
}
