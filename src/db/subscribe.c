/* Owns: what clients ask about rows: subscribing, several sets at once, unsubscribing, one-off queries (spec/03 §13, §14; spec/07 §6.1).
 *
 * Invariants: each request is answered exactly once; a set exists if and only if its client has been told so, or is about to be (reads.c). Runs with the baton. Callers: db.c (operations of the inbox).
 */
#include "db_internal.h"


/* The queries of a set as they are to be subscribed to. */
struct wanted { struct lc_sql_caller caller; struct lc_buf texts; uint32_t n; struct lc_slice *queries; };

static struct lc_slice *texts_of(struct lc_slice bsatn, uint32_t n) {
  struct lc_slice *list = lc_alloc_zero(n ? n : 1, sizeof *list);
  struct lc_reader r = lc_reader(bsatn);
  for (uint32_t i = 0; list && i < n; i++) list[i] = lc_read_bytes(&r);
  return list;
}
/* Of n BSATN strings. The views that they read are materialised, which may be transactions. */
static enum lc_status want(struct lc_db *db, struct lc_db_client *c, struct lc_slice bsatn, uint32_t n, struct wanted *w, struct lc_error *err) {
  *w = (struct wanted){.caller = {.identity = c->identity, .is_owner = c->is_owner}};
  struct lc_slice *sent = texts_of(bsatn, n);
  enum lc_status st = sent ? lc_live_expand(db->live, &w->caller, n, sent, &w->texts, &w->n, err) : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK && !(w->queries = texts_of(lc_buf_slice(&w->texts), w->n))) st = lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) views_subscribe(db, c, &w->caller, w->n, w->queries);
  lc_free(sent);
  return st;
}
static void wanted_free(struct wanted *w) {
  lc_free(w->queries);
  lc_buf_free(&w->texts);
}

/* Is the answer to op, the rows of a set, a thread's to compute? Then it has been asked for, and nothing more is to be done. */
static bool is_read_elsewhere(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, uint64_t set_id) {
  struct lc_buf texts = {0};
  if ((op->flags & LC_LIVE_NO_ROWS) || lc_live_set_cost(db->live, c, set_id, op->flags) < READ_ELSEWHERE_ROWS) return false;
  uint32_t n = lc_live_set_texts(db->live, c, set_id, op->flags, &texts);
  bool is_begun = db_read_begin(db, c, op, set_id, LC_SQL_SUBSCRIPTION, op->flags, &texts, n, lc_slice(NULL, 0));
  lc_buf_free(&texts);
  return is_begun;
}

void db_subscribe(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args) {
  struct lc_error err = {0};
  const struct lc_query_rows *rows = NULL;
  uint32_t n_rows = 0, flags = op->flags | LC_LIVE_NO_ROWS;
  struct wanted w;
  enum lc_status st = want(db, c, args, op->n_queries, &w, &err);
  uint64_t id = op->query_set_id, other = id + 1; /* one that is apart lives under two ids in turn: it replaces the one before if it is good */
  if (st == LC_OK) st = lc_live_subscribe(db->live, c, &w.caller, id, flags, w.n, w.queries, &rows, &n_rows, &err);
  if (st == LC_EXISTS && (op->flags & LC_LIVE_APART)) {
    other = id++;
    st = lc_live_subscribe(db->live, c, &w.caller, id, flags, w.n, w.queries, &rows, &n_rows, &err);
  }
  db_mark_dirty(db, c);
  bool elsewhere = st == LC_OK && is_read_elsewhere(db, c, op, id);
  if (st == LC_OK && !elsewhere) {
    st = lc_live_set_rows(db->live, c, id, op->flags, &rows, &n_rows, &err);
    if (st == LC_OK) c->ops->subscribe_applied(c, op, rows, n_rows);
    else lc_live_unsubscribe(db->live, c, id, LC_LIVE_NO_ROWS, &rows, &n_rows, NULL);
  }
  if (st == LC_OK) {
    views_hold(db, c, &w.caller, id, w.n, w.queries);
    if (op->flags & LC_LIVE_APART) {
      lc_live_unsubscribe(db->live, c, other, LC_LIVE_NO_ROWS, &rows, &n_rows, NULL);
      views_release(db, c, other);
    }
  } else c->ops->subscription_error(c, op, err.text);
  wanted_free(&w);
}

void db_subscribe_batch(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args) {
  struct lc_reader r = lc_reader(args);
  for (uint32_t i = 0; i < op->n_queries; i++) { /* every view of every set first: from then on nothing commits between the sets */
    struct lc_error err;
    struct wanted w;
    lc_read_u32(&r);
    uint32_t n = lc_read_u32(&r);
    want(db, c, lc_slice(r.p, lc_reader_left(&r)), n, &w, &err);
    wanted_free(&w);
    for (; n; n--) lc_read_bytes(&r);
  }
  db_mark_dirty(db, c);
  c->ops->batch_begins(c, op);
  r = lc_reader(args);
  for (uint32_t i = 0; i < op->n_queries; i++) {
    struct lc_error err = {0};
    const struct lc_query_rows *rows = NULL;
    uint32_t n_rows = 0, id = lc_read_u32(&r), n = lc_read_u32(&r);
    struct wanted w;
    enum lc_status st = want(db, c, lc_slice(r.p, lc_reader_left(&r)), n, &w, &err);
    if (st == LC_OK) st = lc_live_subscribe(db->live, c, &w.caller, id, 0, w.n, w.queries, &rows, &n_rows, &err);
    if (st == LC_OK) views_hold(db, c, &w.caller, id, w.n, w.queries);
    c->ops->batch_set(c, id, rows, n_rows, st == LC_OK ? NULL : err.text);
    wanted_free(&w);
    for (; n; n--) lc_read_bytes(&r);
  }
  c->ops->batch_ends(c, op);
}

void db_unsubscribe(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op) {
  struct lc_error err = {0};
  static const struct lc_query_rows none;
  const struct lc_query_rows *rows = NULL;
  uint32_t n_rows = 0;
  bool want_rows = !(op->flags & LC_LIVE_NO_ROWS);
  bool elsewhere = is_read_elsewhere(db, c, op, op->query_set_id);
  enum lc_status st = lc_live_unsubscribe(db->live, c, op->query_set_id, op->flags | (elsewhere ? LC_LIVE_NO_ROWS : 0), &rows, &n_rows, &err);
  db_mark_dirty(db, c);
  if (st == LC_OK) views_release(db, c, op->query_set_id);
  if (elsewhere) return;
  if (st == LC_OK) c->ops->unsubscribe_applied(c, op, want_rows ? (rows ? rows : &none) : NULL, n_rows);
  else c->ops->subscription_error(c, op, err.text);
}

void db_one_off(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice sql, struct lc_slice args) {
  struct lc_error err = {0};
  struct lc_query_rows rows = {0};
  struct lc_sql_caller caller = {.identity = c->identity, .is_owner = c->is_owner};
  struct lc_read_view now = {.ds = db->ds};
  struct lc_plan *plan = NULL;
  uint64_t limit, cost = 0;
  db_count(db, LC_DB_SQL_STATEMENTS, 1);
  enum lc_status st = lc_sql_compile(now, sql, LC_SQL_QUERY, &caller, &plan, &err);
  db_mark_dirty(db, c);
  if (st == LC_OK) {
    cost = lc_plan_estimate(plan, now, &limit);
    st = lc_plan_check_limit(cost, limit, &err);
  }
  if (st == LC_OK) views_need(db, plan, &c->identity); /* a view that fails has no rows */
  bool elsewhere = false;
  if (st == LC_OK && cost >= READ_ELSEWHERE_ROWS) {
    struct lc_buf text = {0};
    lc_buf_bsatn_bytes(&text, sql);
    elsewhere = db_read_begin(db, c, op, 0, LC_SQL_QUERY, LC_LIVE_WHOLE, &text, 1, args);
    lc_buf_free(&text);
  }
  if (st == LC_OK && !elsewhere) st = lc_live_one_off(db->live, plan, &rows, &err);
  if (!elsewhere) c->ops->one_off_result(c, op, args, st == LC_OK ? &rows : NULL, st == LC_OK ? NULL : err.text);
  lc_plan_free(plan);
}
