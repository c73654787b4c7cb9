/* Owns: materialised views (spec/05 §21, spec/07 §5): instances of (view, arguments, and sender where it has one), whose rows lie in the view's backing table
 * under their arg_hash; what each has read; and running them again inside the transaction that changes what they read.
 *
 * Invariants: an instance is live exactly while it is in the table of instances; its rows are those of its last run. What it read is watched, and replaced only when the
 * transaction of the run commits. A transaction that makes an instance stale runs it before it commits, or does not commit. Runs only with the baton.
 * Callers: call.c, http.c, procedures.c, open.c (update), db.c (subscriptions, expiry).
 */
#include "db_internal.h"

enum { BUCKETS = 1024, ARG_HASH_BYTES = 32, BATCH = 1024 };
static const int64_t EXPIRY_US = 600 * (int64_t)1000000;
static const char fatal_text[] = "The instance encountered a fatal error."; /* spec/02 §3 */

struct read { uint32_t table_id, index_id; struct lc_slice key; struct lc_search *search; }; /* search: of a query's relation; else index_id 0: the whole table */
struct view_instance {
  struct view_instance *next;           /* of its bucket */
  uint32_t table_id; uint8_t arg_hash[ARG_HASH_BYTES];
  struct lc_identity sender;            /* zero for anonymous views */
  struct lc_slice args;                 /* owned */
  uint32_t n_refs; int64_t last_used_us;
  struct lc_watch **watches; uint32_t n_watches;
  bool is_stale; struct view_instance *stale_next;
  struct lc_arena reads_arena; struct read *reads; uint32_t n_reads, cap_reads, *places /* by hash, 1 + which read, twice as many as cap_reads */; bool lacks_memory; /* of a run whose transaction is open */
};
struct view_ref { struct view_ref *next; struct view_instance *instance; uint64_t query_set_id; };
struct views {
  struct view_instance *buckets[BUCKETS];
  uint32_t n;
  struct lc_watches *watches;
  struct view_instance *stale;          /* of the transaction that is about to commit: run, and their reads not yet taken over */
  int64_t next_expiry_us;
};

struct views *views_new(void) {
  struct views *v = lc_alloc_zero(1, sizeof *v);
  if (v && !(v->watches = lc_watches_new())) {
    lc_free(v);
    return NULL;
  }
  return v;
}
static void forget_watches(struct views *v, struct view_instance *i) {
  for (uint32_t k = 0; k < i->n_watches; k++) lc_watch_remove(v->watches, i->watches[k]);
  lc_free(i->watches);
  i->watches = NULL;
  i->n_watches = 0;
}
static void forget_reads(struct view_instance *i) {
  lc_arena_free(&i->reads_arena);
  i->reads = NULL;
  i->places = NULL;
  i->n_reads = i->cap_reads = 0;
  i->lacks_memory = false;
}
static struct view_instance **place_of(struct views *v, uint32_t table_id, const uint8_t *arg_hash) {
  struct view_instance **at = &v->buckets[lc_hash64(arg_hash, ARG_HASH_BYTES, table_id) % BUCKETS];
  while (*at && ((*at)->table_id != table_id || memcmp((*at)->arg_hash, arg_hash, ARG_HASH_BYTES) != 0)) at = &(*at)->next;
  return at;
}
static void instance_free(struct views *v, struct view_instance *i) {
  struct view_instance **at = place_of(v, i->table_id, i->arg_hash);
  if (*at == i) {
    *at = i->next;
    v->n--;
  }
  forget_watches(v, i);
  forget_reads(i);
  lc_free((void *)(uintptr_t)i->args.data);
  lc_free(i);
}
void views_free(struct views *v) {
  if (!v) return;
  for (uint32_t b = 0; b < BUCKETS; b++)
    while (v->buckets[b]) instance_free(v, v->buckets[b]);
  lc_watches_free(v->watches);
  lc_free(v);
}

/* ---- running one ---- */

static uint32_t *read_place(const struct view_instance *i, uint32_t table_id, uint32_t index_id, struct lc_slice key) {
  uint32_t mask = i->cap_reads * 2 - 1, at = (uint32_t)lc_hash64(key.data, key.len, (uint64_t)table_id << 32 | index_id) & mask;
  for (; i->places[at]; at = (at + 1) & mask) {
    const struct read *read = &i->reads[i->places[at] - 1];
    if (!read->search && read->table_id == table_id && read->index_id == index_id && lc_slice_eq(read->key, key)) break;
  }
  return &i->places[at];
}
/* Room for one more. */
static bool reads_grow(struct view_instance *i) {
  if (i->n_reads < i->cap_reads) return true;
  uint32_t cap = i->cap_reads ? i->cap_reads * 2 : 8;
  struct read *more = lc_arena_alloc(&i->reads_arena, cap * sizeof *more);
  uint32_t *places = lc_arena_alloc(&i->reads_arena, (size_t)cap * 2 * sizeof *places);
  if (!more || !places) return !(i->lacks_memory = true);
  if (i->n_reads) memcpy(more, i->reads, i->n_reads * sizeof *more);
  memset(places, 0, (size_t)cap * 2 * sizeof *places);
  i->reads = more;
  i->places = places;
  i->cap_reads = cap;
  for (uint32_t k = 0; k < i->n_reads; k++)
    if (!more[k].search) *read_place(i, more[k].table_id, more[k].index_id, more[k].key) = k + 1;
  return true;
}
/* host_env.reads */
static void on_read(void *ctx, uint32_t table_id, uint32_t index_id, struct lc_slice key) {
  struct view_instance *i = ctx;
  if (!reads_grow(i)) return;
  if (index_id && *read_place(i, table_id, 0, lc_slice(NULL, 0))) return; /* the whole table is read already */
  uint32_t *place = read_place(i, table_id, index_id, key);
  if (*place) return;
  struct lc_slice copy = lc_arena_copy(&i->reads_arena, key);
  if (!copy.data) {
    i->lacks_memory = true;
    return;
  }
  i->reads[i->n_reads++] = (struct read){table_id, index_id, copy, NULL};
  *place = i->n_reads;
}
/* A relation of a query that a view returned: the result cannot change but by rows that its search admits. */
static void on_relation(struct view_instance *i, const struct lc_plan *plan, uint32_t fragment, uint32_t relation) {
  uint32_t table_id = lc_fragment_table(plan, fragment, relation)->table_id;
  struct lc_search *s = lc_arena_alloc(&i->reads_arena, sizeof *s);
  if (!s || !reads_grow(i)) {
    i->lacks_memory = true;
    return;
  }
  *s = (struct lc_search){0};
  lc_fragment_search(plan, fragment, relation, s);
  if (s->kind == LC_SEARCH_ANY) {
    on_read(i, table_id, 0, lc_slice(NULL, 0));
    return;
  }
  bool ok = true; /* the values are the plan's */
  for (uint32_t c = 0; c < s->n_columns; c++) ok = (s->values[c] = lc_arena_copy(&i->reads_arena, s->values[c])).data && ok;
  for (uint32_t c = 0; c < s->n_intervals; c++) {
    struct lc_interval *x = &s->intervals[c];
    if (x->low.data) ok = (x->low = lc_arena_copy(&i->reads_arena, x->low)).data && ok;
    if (x->high.data) ok = (x->high = lc_arena_copy(&i->reads_arena, x->high)).data && ok;
  }
  if (ok) i->reads[i->n_reads++] = (struct read){.table_id = table_id, .search = s};
  else i->lacks_memory = true;
}

static const struct lc_view_def *view_of(const struct lc_module_def *def, struct lc_slice name) {
  for (uint32_t i = 0; i < def->n_views; i++)
    if (lc_slice_eq(def->views[i].name, name)) return &def->views[i];
  return NULL;
}

struct row_writer { struct lc_tx *tx; const struct lc_table_info *table; const struct view_instance *instance; struct lc_buf row; bool failed; struct lc_error *err; };
static bool write_row(struct row_writer *w, struct lc_slice row) {
  lc_buf_clear(&w->row);
  lc_buf_append(&w->row, w->instance->arg_hash, ARG_HASH_BYTES);
  lc_buf_slice_append(&w->row, row);
  if (!lc_buf_ok(&w->row)) lc_fail(w->err, LC_NOMEM, "out of memory");
  w->failed = w->failed || !lc_buf_ok(&w->row) || lc_tx_insert(w->tx, w->table->table_id, lc_buf_slice(&w->row), NULL, NULL, w->err) != LC_ERRNO_OK;
  return !w->failed;
}
struct row_list { struct lc_buf bytes; uint32_t n; };
static bool keep_row(void *ctx, struct lc_slice row) { /* rows are written when the query has ended: it may read what is written */
  struct row_list *l = ctx;
  lc_buf_bsatn_bytes(&l->bytes, row);
  l->n++;
  return lc_buf_ok(&l->bytes);
}
/* Rows of the SQL that a view returned (spec/05 §21.6). */
static enum lc_status run_sql(struct lc_db *db, const struct lc_type *row_type, struct view_instance *i, struct lc_slice sql, struct row_list *rows, struct lc_error *err) {
  struct lc_sql_caller caller = {.identity = db->options.owner_identity, .has_all_rights = true};
  struct lc_read_view now = {.ds = db->ds};
  struct lc_plan *plan;
  const struct lc_plan_view *views;
  while (sql.len && sql.data[0] <= ' ') sql = lc_slice(sql.data + 1, sql.len - 1);
  if (sql.len == 0) return LC_OK;
  enum lc_status st = lc_sql_compile(now, sql, LC_SQL_SUBSCRIPTION, &caller, &plan, err);
  if (st != LC_OK) return st;
  if (lc_plan_views(plan, &views)) st = lc_fail(err, LC_INVALID, "view definition cannot read from other views");
  else if (lc_plan_is_per_identity(plan)) st = lc_fail(err, LC_INVALID, "parameterized SQL is not supported for view materialization yet");
  for (uint32_t f = 0; f < lc_plan_n_fragments(plan) && st == LC_OK; f++)
    for (uint32_t r = 0; r < lc_fragment_n_relations(plan, f) && st == LC_OK; r++) {
      const struct lc_table_info *t = lc_fragment_table(plan, f, r);
      if (t->table_id == LC_ST_ENV) st = lc_fail(err, LC_INVALID, "module SQL views cannot read a module-restricted table");
      on_relation(i, plan, f, r);
    }
  if (st == LC_OK && !lc_type_eq(lc_plan_row_type(plan), row_type)) {
    struct lc_buf a = {0}, b = {0};
    lc_type_display(&a, lc_plan_row_type(plan));
    lc_type_display(&b, row_type);
    st = lc_fail(err, LC_INVALID, "query returns `%.*s` but view expects `%.*s`", (int)a.len, (char *)a.data, (int)b.len, (char *)b.data);
    lc_buf_free(&a);
    lc_buf_free(&b);
  }
  if (st == LC_OK) st = lc_plan_run(plan, now, keep_row, rows, err);
  if (st == LC_OK && !lc_buf_ok(&rows->bytes)) st = lc_fail(err, LC_NOMEM, "out of memory");
  lc_plan_free(plan);
  return st;
}

/* Runs a view in the transaction and replaces its rows. LC_TRAP: the call failed (the instance may be dead, and is freed then); LC_BUDGET; LC_INVALID and others: its
 * result is no good. *err: the text for whoever asked (spec/05 §21.6). The reads are kept until views_committed or views_undone. */
static enum lc_status run_view(struct lc_db *db, struct lc_tx *tx, struct view_instance *i, struct lc_error *err) {
  const struct lc_table_info *t = lc_datastore_table(db->ds, i->table_id);
  const struct lc_module_def *def = lc_module_definition(db->module);
  const struct lc_view_def *view = t ? view_of(def, t->name) : NULL;
  const struct lc_index_info *by_hash = NULL;
  const char *stage = "Error materializing view";
  if (!view) return lc_fail(err, LC_INVALID, "failed to resolve view: %.*s", t ? (int)t->name.len : 0, t ? (const char *)t->name.data : "");
  for (uint32_t k = 0; k < t->n_indexes; k++)
    if (t->indexes[k].n_columns == 1 && t->indexes[k].columns[0] == 0) by_hash = &t->indexes[k];
  lc_assert(by_hash);
  forget_reads(i);
  if (db_need_instance(db, err) != LC_OK) return lc_fail(err, LC_TRAP, "%s", fatal_text);
  struct lc_call_args call = {.function_name = view->name, .id = view->fn_index, .sender = i->sender, .args = i->args};
  struct lc_call_result res = {.status = LC_CALL_OK};
  enum lc_view_result kind = LC_VIEW_ROWS;
  struct lc_buf answer = {0};
  db->host_env.tx = tx;
  db->host_env.reads = on_read;
  db->host_env.reads_ctx = i;
  if (view->is_anonymous) lc_instance_call_view_anon(db->instance, &call, &kind, &answer, &res);
  else lc_instance_call_view(db->instance, &call, &kind, &answer, &res);
  db->host_env.tx = NULL;
  db->host_env.reads = NULL;
  struct row_list rows = {0};
  struct row_writer w = {.tx = tx, .table = t, .instance = i, .err = err};
  enum lc_status st = LC_OK;
  if (res.status != LC_CALL_OK) {
    lc_log(LC_LOG_WARN, "view %.*s: %.*s", (int)view->name.len, (const char *)view->name.data, (int)res.message.len, (const char *)res.message.data);
    st = lc_fail(err, res.status == LC_CALL_BUDGET ? LC_BUDGET : LC_TRAP, "%s", fatal_text);
  } else if (!lc_buf_ok(&answer)) {
    st = lc_fail(err, LC_NOMEM, "out of memory");
  } else if (kind == LC_VIEW_SQL) {
    stage = "Error executing raw SQL returned by view";
    struct lc_type row_type = *t->row_type; /* with the columns' names of the catalog; without arg_hash */
    row_type.fields++;
    row_type.n_fields--;
    st = run_sql(db, &row_type, i, lc_buf_slice(&answer), &rows, err);
  } else {
    stage = "Error deserializing rows returned by view";
    struct lc_reader r = lc_reader(lc_buf_slice(&answer));
    uint32_t n = lc_read_u32(&r);
    for (uint32_t k = 0; k < n && st == LC_OK; k++) {
      const uint8_t *from = r.p;
      st = lc_bsatn_validate(view->row_type, view->typespace, &r, err);
      if (st == LC_OK && !keep_row(&rows, lc_slice(from, (size_t)(r.p - from)))) st = lc_fail(err, LC_NOMEM, "out of memory");
      if (r.p == from) break; /* rows of no bytes are all the same */
    }
    if (st == LC_OK && (r.failed || lc_reader_left(&r))) st = lc_fail(err, LC_INVALID, "bytes are left over");
  }
  if (res.instance_dead) {
    lc_instance_free(db->instance);
    db->instance = NULL;
  }
  if (st == LC_OK && i->lacks_memory) st = lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) {
    uint32_t n_deleted;
    stage = "Error materializing view";
    struct lc_reader r = lc_reader(lc_buf_slice(&rows.bytes));
    if (lc_tx_delete_point(tx, by_hash->index_id, lc_slice(i->arg_hash, ARG_HASH_BYTES), &n_deleted, err) != LC_ERRNO_OK) st = lc_fail(err, LC_NOMEM, "out of memory");
    for (uint32_t k = 0; k < rows.n && st == LC_OK; k++)
      if (!write_row(&w, lc_read_bytes(&r))) st = LC_CONFLICT;
  }
  if (st != LC_OK && st != LC_TRAP && st != LC_BUDGET) {
    struct lc_error cause = *err;
    lc_fail(err, st, "Error materializing view `%.*s`: %s", (int)view->name.len, (const char *)view->name.data, stage);
    module_log_engine(db->log, 0, db->options.env->now_us(db->options.env->ctx), "__spacetimedb__", "%s: %s", err->text, cause.text);
  }
  lc_buf_free(&w.row);
  lc_buf_free(&rows.bytes);
  lc_buf_free(&answer);
  return st;
}

/* What the last run has read is watched from now on. Without memory for it the whole tables are, and if that fails too, the instance is run with every
 * transaction that touches a watched table; so nothing is missed. */
static void take_reads(struct lc_db *db, struct view_instance *i) {
  struct views *v = db->views;
  forget_watches(v, i);
  i->watches = lc_alloc_zero(i->n_reads + 1, sizeof *i->watches);
  for (uint32_t k = 0; k < i->n_reads; k++) {
    const struct read *read = &i->reads[k];
    const struct lc_table_info *t = lc_datastore_table(db->ds, read->table_id);
    const struct lc_index_info *x = read->index_id ? lc_datastore_index(db->ds, read->index_id) : NULL;
    struct lc_search point = {.kind = LC_SEARCH_ANY};
    if (!t) continue;
    const uint8_t *at = read->key.data;
    bool is_bitwise = true; /* else equal values may differ in bytes */
    for (uint32_t n = 0; x && n < x->n_columns && n < LC_SEARCH_MAX_COLUMNS; n++) { /* with more columns it hears of rows that differ in the others too */
      const struct lc_type *type = t->row_type->fields[x->columns[n]].type;
      const uint8_t *end = lc_bsatn_skip(type, at);
      point.columns[n] = x->columns[n];
      point.values[n] = lc_slice(at, (size_t)(end - at));
      point.n_columns = n + 1;
      is_bitwise = is_bitwise && lc_type_is_bitwise(type);
      at = end;
    }
    if (point.n_columns && is_bitwise) point.kind = LC_SEARCH_EQUAL;
    else point.n_columns = 0;
    struct lc_watch *w = i->watches ? lc_watch_add(v->watches, t, read->search ? read->search : &point, i) : NULL;
    if (!w) lc_panic("out of memory while the reads of a view are kept");
    i->watches[i->n_watches++] = w;
  }
  forget_reads(i);
}

/* ---- refresh ---- */

static void on_stale(void *ctx, void *owner) {
  struct views *v = ctx;
  struct view_instance *i = owner;
  if (i->is_stale) return;
  i->is_stale = true;
  i->stale_next = v->stale;
  v->stale = i;
}
void views_undone(struct lc_db *db) {
  for (struct view_instance *i; (i = db->views->stale);) {
    db->views->stale = i->stale_next;
    i->is_stale = false;
    forget_reads(i);
  }
}
void views_committed(struct lc_db *db) {
  for (struct view_instance *i; (i = db->views->stale);) {
    db->views->stale = i->stale_next;
    i->is_stale = false;
    take_reads(db, i);
  }
}
enum lc_status views_refresh(struct lc_db *db, struct lc_tx *tx, struct lc_error *err) {
  struct views *v = db->views;
  if (v->n == 0) return LC_OK;
  for (uint32_t k = lc_tx_n_touched(tx); k-- > 0;) {
    uint32_t n;
    const struct lc_table_info *t = lc_tx_touched(tx, k, &n);
    if (!t || t->view || !lc_watches_table(v->watches, t->table_id)) continue;
    for (uint32_t r = 0; r < n; r++) lc_watches_match(v->watches, t, lc_tx_touched_row(tx, k, r), on_stale, v);
  }
  for (struct view_instance *i = v->stale; i; i = i->stale_next) {
    enum lc_status st = run_view(db, tx, i, err);
    if (st == LC_OK) continue;
    views_undone(db);
    return st;
  }
  return LC_OK;
}

/* ---- first need ---- */

/* The instance of what a plan reads; made and run if there is none. False: no more is to be materialised in this request (a trap). */
static bool need_instance(struct lc_db *db, const struct lc_plan_view *p, const struct lc_identity *caller, struct view_instance **out) {
  struct views *v = db->views;
  const struct lc_env *env = db->options.env;
  struct lc_error err = {0};
  *out = *place_of(v, p->table->table_id, p->arg_hash);
  if (*out) {
    (*out)->last_used_us = env->now_us(env->ctx);
    return true;
  }
  struct view_instance *i = lc_alloc_zero(1, sizeof *i);
  char *args = lc_strdup_n(p->args.data, p->args.len);
  struct lc_tx *tx = i && args ? lc_tx_begin(db->ds) : NULL;
  if (!tx) {
    lc_free(i);
    lc_free(args);
    return true;
  }
  *i = (struct view_instance){.table_id = p->table->table_id, .args = lc_slice(args, p->args.len), .last_used_us = env->now_us(env->ctx)};
  memcpy(i->arg_hash, p->arg_hash, ARG_HASH_BYTES);
  if (!p->table->view->is_anonymous) i->sender = *caller;
  enum lc_status st = run_view(db, tx, i, &err);
  if (st == LC_OK) {
    struct view_instance **at = place_of(v, i->table_id, i->arg_hash);
    i->next = *at;
    *at = i;
    v->n++;
    on_stale(v, i); /* its reads are taken over with the commit */
    db_commit(db, tx, NULL);
    *out = i;
    return true;
  }
  lc_tx_rollback(tx);
  if (st == LC_TRAP || st == LC_BUDGET || st == LC_NOMEM) {
    instance_free(v, i);
    return false;
  }
  struct view_instance **at = place_of(v, i->table_id, i->arg_hash); /* live, but without rows until it can be run (spec/05 §21.6) */
  i->next = *at;
  *at = i;
  v->n++;
  take_reads(db, i);
  *out = i;
  return true;
}

bool views_need(struct lc_db *db, const struct lc_plan *plan, const struct lc_identity *caller) {
  const struct lc_plan_view *views;
  struct view_instance *i;
  uint32_t n = lc_plan_views(plan, &views);
  for (uint32_t k = 0; k < n; k++)
    if (!need_instance(db, &views[k], caller, &i)) return false;
  return true;
}

void views_subscribe(struct lc_db *db, struct lc_db_client *c, const struct lc_sql_caller *caller, uint32_t n_queries, const struct lc_slice *queries) {
  struct lc_error err;
  if (!db->has_views) return;
  for (uint32_t q = 0; q < n_queries; q++) {
    struct lc_plan *plan;
    if (lc_sql_compile((struct lc_read_view){.ds = db->ds}, queries[q], LC_SQL_SUBSCRIPTION, caller, &plan, &err) != LC_OK) continue; /* subscribing will say so */
    bool go_on = views_need(db, plan, &c->identity);
    lc_plan_free(plan);
    if (!go_on) return;
  }
}
void views_hold(struct lc_db *db, struct lc_db_client *c, const struct lc_sql_caller *caller, uint64_t query_set_id, uint32_t n_queries, const struct lc_slice *queries) {
  struct lc_error err;
  if (!db->has_views) return;
  for (uint32_t q = 0; q < n_queries; q++) {
    struct lc_plan *plan;
    const struct lc_plan_view *views;
    if (lc_sql_compile((struct lc_read_view){.ds = db->ds}, queries[q], LC_SQL_SUBSCRIPTION, caller, &plan, &err) != LC_OK) continue;
    uint32_t n = lc_plan_views(plan, &views);
    for (uint32_t k = 0; k < n; k++) {
      struct view_instance *i = *place_of(db->views, views[k].table->table_id, views[k].arg_hash);
      bool twice = false;
      for (struct view_ref *r = c->view_refs; r && i; r = r->next) twice = twice || (r->instance == i && r->query_set_id == query_set_id);
      struct view_ref *ref = i && !twice ? lc_alloc(sizeof *ref) : NULL;
      if (!ref) continue; /* without memory it may expire ten minutes after its last use */
      *ref = (struct view_ref){c->view_refs, i, query_set_id};
      c->view_refs = ref;
      i->n_refs++;
    }
    lc_plan_free(plan);
  }
}
static void release(struct lc_db *db, struct lc_db_client *c, bool all, uint64_t query_set_id) {
  const struct lc_env *env = db->options.env;
  for (struct view_ref **at = &c->view_refs; *at;) {
    struct view_ref *r = *at;
    if (!all && r->query_set_id != query_set_id) {
      at = &r->next;
      continue;
    }
    *at = r->next;
    r->instance->n_refs--;
    r->instance->last_used_us = env->now_us(env->ctx);
    lc_free(r);
  }
}
void views_release(struct lc_db *db, struct lc_db_client *c, uint64_t query_set_id) { release(db, c, false, query_set_id); }
void views_release_all(struct lc_db *db, struct lc_db_client *c) { release(db, c, true, 0); }

/* ---- expiry, update ---- */

static void delete_rows(struct lc_db *db, struct lc_tx *tx, const struct view_instance *i) {
  const struct lc_table_info *t = lc_datastore_table(db->ds, i->table_id);
  uint32_t n;
  for (uint32_t k = 0; t && k < t->n_indexes; k++)
    if (t->indexes[k].n_columns == 1 && t->indexes[k].columns[0] == 0) lc_tx_delete_point(tx, t->indexes[k].index_id, lc_slice(i->arg_hash, ARG_HASH_BYTES), &n, NULL);
}
void views_expire(struct lc_db *db) {
  struct views *v = db->views;
  const struct lc_env *env = db->options.env;
  uint32_t n = 0;
  if (v->n == 0) return;
  int64_t now = env->now_us(env->ctx);
  if (now < v->next_expiry_us) return;
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return;
  for (uint32_t b = 0; b < BUCKETS && n < BATCH; b++)
    for (struct view_instance *i = v->buckets[b], *next; i && n < BATCH; i = next) {
      next = i->next;
      if (i->n_refs || i->last_used_us + EXPIRY_US > now) continue;
      delete_rows(db, tx, i);
      instance_free(v, i);
      n++;
    }
  db_commit(db, tx, NULL);
  v->next_expiry_us = now + (n == BATCH ? EXPIRY_US / 60 : EXPIRY_US);
}

enum lc_status views_rerun(struct lc_db *db, struct lc_tx *tx, struct lc_error *err) {
  struct views *v = db->views;
  for (uint32_t b = 0; b < BUCKETS; b++)
    for (struct view_instance *i = v->buckets[b]; i; i = i->next) {
      const struct lc_table_info *t = lc_datastore_table(db->ds, i->table_id);
      if (!t || !t->view) continue; /* the view is gone or another: views_drop_gone */
      on_stale(v, i);
      enum lc_status st = run_view(db, tx, i, err);
      if (st == LC_OK) continue;
      views_undone(db);
      struct lc_error cause = *err;
      return st == LC_TRAP ? lc_fail(err, st, "Trapped while evaluating views during database update") : lc_fail(err, st, "Views evaluation did not complete successfully during database update: %s", cause.text);
    }
  return LC_OK;
}
void views_drop_gone(struct lc_db *db) {
  struct views *v = db->views;
  for (uint32_t b = 0; b < BUCKETS; b++)
    for (struct view_instance *i = v->buckets[b], *next; i; i = next) {
      next = i->next;
      const struct lc_table_info *t = lc_datastore_table(db->ds, i->table_id);
      if (t && t->view) continue;
      for (struct lc_db_client *c = db->all_clients; c; c = c->all_next)
        for (struct view_ref **at = &c->view_refs; *at;) {
          struct view_ref *r = *at;
          if (r->instance != i) {
            at = &r->next;
            continue;
          }
          *at = r->next;
          lc_free(r);
        }
      instance_free(v, i);
    }
}
