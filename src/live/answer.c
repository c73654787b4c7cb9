/* Owns: the rows of queries as an answer has them: row lists one after another, by whoever reads the view (spec/03 §14.2).
 *
 * While an answer grows its row lists are offsets into its bytes; answer_finish makes slices of them. Callers: live.c (with the live view), the face (any thread, with an
 * opened one).
 */
#include "live_internal.h"

struct reading { struct row_list list; const atomic_bool *cancel; };
static bool add_row(void *ctx, struct lc_slice row) {
  struct reading *r = ctx;
  row_list_add(&r->list, row);
  return !r->cancel || !atomic_load_explicit(r->cancel, memory_order_relaxed);
}

/* The rows of one fragment (all: of the whole plan). */
static enum lc_status add_rows(struct lc_live_answer *a, const struct lc_plan *plan, struct lc_read_view view, uint32_t fragment, bool all, const atomic_bool *cancel, struct lc_error *err) {
  if (a->n == a->cap) {
    uint32_t cap = a->cap ? a->cap * 2 : 16;
    struct lc_query_rows *p = lc_realloc(a->rows, cap * sizeof *p);
    if (!p) return lc_fail(err, LC_NOMEM, "out of memory");
    a->rows = p;
    a->cap = cap;
  }
  struct reading r = {.cancel = cancel};
  enum lc_status st = all ? lc_plan_run(plan, view, add_row, &r, err) : lc_fragment_run(plan, fragment, view, NULL, add_row, &r, err);
  const struct lc_table_info *t = lc_plan_table(plan);
  size_t at = a->bytes.len;
  row_list_encode(&r.list, &a->bytes);
  a->rows[a->n++] = (struct lc_query_rows){.table = t, .table_name = t->name, .n_rows = r.list.n_rows, .row_list = {(const uint8_t *)(uintptr_t)at, a->bytes.len - at}};
  if (st == LC_OK && (!lc_buf_ok(&r.list.rows) || !lc_buf_ok(&r.list.offsets) || !lc_buf_ok(&a->bytes))) st = lc_fail(err, LC_NOMEM, "out of memory for the rows of a query");
  if (st == LC_OK && cancel && atomic_load(cancel)) st = lc_fail(err, LC_CLOSED, "the client has gone");
  row_list_free(&r.list);
  return st;
}
/* Nothing is said of a fragment one of whose tables has no rows (spec/05 §15); event tables never have any. */
static bool has_rows(const struct lc_plan *plan, struct lc_read_view view, uint32_t fragment) {
  for (uint32_t r = 0; r < lc_fragment_n_relations(plan, fragment); r++)
    if (lc_view_row_count(view, lc_fragment_table(plan, fragment, r)->table_id) == 0) return false;
  return true;
}

void answer_clear(struct lc_live_answer *a) {
  a->n = 0;
  lc_buf_clear(&a->bytes);
}
enum lc_status answer_add(struct lc_live_answer *a, const struct lc_plan *plan, struct lc_read_view view, uint32_t flags, const atomic_bool *cancel, struct lc_error *err) {
  enum lc_status st = LC_OK;
  if (flags & LC_LIVE_WHOLE) return add_rows(a, plan, view, 0, true, cancel, err);
  for (uint32_t f = 0; f < lc_plan_n_fragments(plan) && st == LC_OK; f++)
    if (has_rows(plan, view, f)) st = add_rows(a, plan, view, f, false, cancel, err);
  return st;
}
void answer_finish(struct lc_live_answer *a) {
  for (uint32_t i = 0; i < a->n; i++) a->rows[i].row_list.data = a->bytes.data + (uintptr_t)a->rows[i].row_list.data;
}

enum lc_status lc_live_read(struct lc_read_view view, enum lc_sql_language language, const struct lc_sql_caller *caller, uint32_t flags, struct lc_slice texts, uint32_t n, const atomic_bool *cancel,
                            struct lc_live_answer *a, struct lc_error *err) {
  struct lc_reader r = lc_reader(texts);
  enum lc_status st = LC_OK;
  answer_clear(a);
  for (uint32_t i = 0; i < n && st == LC_OK; i++) {
    struct lc_plan *plan;
    st = lc_sql_compile(view, lc_read_bytes(&r), language, caller, &plan, err);
    if (st != LC_OK) break;
    st = answer_add(a, plan, view, flags, cancel, err);
    lc_plan_free(plan);
  }
  if (st == LC_OK) answer_finish(a);
  return st;
}
void lc_live_answer_free(struct lc_live_answer *a) {
  lc_free(a->rows);
  lc_buf_free(&a->bytes);
}
