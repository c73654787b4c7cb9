/* A naive model of a database for tests of the engine: tables as lists of rows, their definition as it stands in a module, what must be found in them.
 *
 * Rows are counted and shared, so that a state is copied for every transaction and every snapshot. The model knows an order of its own
 * (reference_order.h) and decides by itself which indexes are unique, what an auto-increment column gets and what a scan must find.
 * The includer has included cmocka.h and declares CHECK(condition). */
#ifndef LC_ENGINE_MODEL_H
#define LC_ENGINE_MODEL_H
#include "def_text.h"
#include "engine/engine_internal.h"
#include "reference_order.h"

static uint64_t random_state;
static uint64_t rnd(uint64_t n) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (z ^ z >> 31) % n;
}

/* ---- rows ---- */

struct row { uint32_t refs, len; uint64_t hash; uint8_t data[]; };
struct rows { struct row **r; uint32_t n, cap; };

static struct row *row_new(struct lc_slice s) {
  struct row *r = malloc(sizeof *r + s.len + 1);
  *r = (struct row){.refs = 1, .len = (uint32_t)s.len};
  if (s.len) memcpy(r->data, s.data, s.len);
  r->hash = lc_hash64(r->data, r->len, 77);
  return r;
}
static void row_unref(struct row *r) {
  if (--r->refs == 0) free(r);
}
static struct lc_slice row_slice(const struct row *r) { return lc_slice(r->data, r->len); }
static void rows_push(struct rows *l, struct row *r) { /* the reference passes */
  if (l->n == l->cap) l->r = realloc(l->r, (l->cap = l->cap * 2 + 8) * sizeof *l->r);
  l->r[l->n++] = r;
}
static void rows_drop(struct rows *l, uint32_t at) {
  row_unref(l->r[at]);
  l->r[at] = l->r[--l->n];
}
static void rows_clear(struct rows *l) {
  while (l->n) row_unref(l->r[--l->n]);
}
static void rows_free(struct rows *l) {
  rows_clear(l);
  free(l->r);
  *l = (struct rows){0};
}
static struct rows rows_copy(const struct rows *l) {
  struct rows c = {0};
  for (uint32_t i = 0; i < l->n; i++) l->r[i]->refs++, rows_push(&c, l->r[i]);
  return c;
}
static int32_t rows_position(const struct rows *l, struct lc_slice s) {
  uint64_t hash = lc_hash64(s.data, s.len, 77);
  for (uint32_t i = 0; i < l->n; i++)
    if (l->r[i]->hash == hash && lc_slice_eq(row_slice(l->r[i]), s)) return (int32_t)i;
  return -1;
}
static int by_bytes(const void *a, const void *b) {
  const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
  int c = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
  return c ? c : x->len < y->len ? -1 : x->len > y->len;
}
static void rows_sort(struct rows *l) {
  if (l->n > 1) qsort(l->r, l->n, sizeof *l->r, by_bytes);
}
/* What `a` has and `b` has not. */
static struct rows rows_minus(const struct rows *a, const struct rows *b) {
  struct rows x = rows_copy(a), y = rows_copy(b), out = {0};
  rows_sort(&x), rows_sort(&y);
  for (uint32_t i = 0, k = 0; i < x.n; i++) {
    while (k < y.n && by_bytes(&y.r[k], &x.r[i]) < 0) k++;
    if (k < y.n && by_bytes(&y.r[k], &x.r[i]) == 0) continue;
    x.r[i]->refs++;
    rows_push(&out, x.r[i]);
  }
  rows_free(&x), rows_free(&y);
  return out;
}
static bool rows_equal(struct rows *a, struct rows *b) { /* in any order, each as often */
  if (a->n != b->n) return false;
  rows_sort(a), rows_sort(b);
  for (uint32_t i = 0; i < a->n; i++)
    if (by_bytes(&a->r[i], &b->r[i]) != 0) return false;
  return true;
}

/* ---- definitions ---- */

enum { MAX_TABLES = 4, MAX_COLS = 9, MAX_TABLE_INDEXES = 7, MAX_UNIQUES = 5, MAX_KEY = 3 };
struct m_index { char name[24]; enum lc_index_kind kind; uint32_t n; uint16_t cols[MAX_KEY]; };
struct m_unique { char name[24]; uint32_t n; uint16_t cols[MAX_KEY]; };
struct m_column { const char *type; bool has_seq; char seq[24], default_hex[400]; };
/* pk_index: the first index and the first unique constraint are the primary key's, whether it is declared (has_pk) or not any more. */
struct m_def { char name[8]; bool is_event, is_public, has_pk, pk_index; uint32_t n_cols, n_indexes, n_uniques; struct m_column cols[MAX_COLS]; struct m_index indexes[MAX_TABLE_INDEXES]; struct m_unique uniques[MAX_UNIQUES]; };
struct m_table { struct m_def def; uint32_t id; const struct lc_type *type; struct rows rows; unsigned __int128 next[MAX_COLS]; };
struct m_state { uint32_t n; struct m_table t[MAX_TABLES]; };

static struct m_state state_copy(const struct m_state *s) {
  struct m_state c = *s;
  for (uint32_t i = 0; i < s->n; i++) c.t[i].rows = rows_copy(&s->t[i].rows);
  return c;
}
static void state_free(struct m_state *s) {
  for (uint32_t i = 0; i < s->n; i++) rows_free(&s->t[i].rows);
  s->n = 0;
}

static const char *const type_words[] = {"u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256", "f32", "f64", "bool", "string", "identity", "timestamp", "[u8]", "?u16",
                                         "{A,B,C}", "{A:u8,B:string}", "(x:u8,y:i16)", "[string]", "(__connection_id__:u128)", "(__time_duration_micros__:i64)", "(__uuid__:u128)", "?f32", "(f:f64,s:string)", "()"};
static bool is_integer(const char *word) { return (*word == 'u' || *word == 'i') && word[1] >= '1' && word[1] <= '9'; }
static bool is_direct(const char *word) { return (*word == 'u' && strcmp(word, "u128") != 0 && strcmp(word, "u256") != 0) || strncmp(word, "{A,", 3) == 0; }

static bool same_columns_set(uint32_t n, const uint16_t *a, uint32_t m, const uint16_t *b) {
  uint32_t hits = 0;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < m; k++) hits += a[i] == b[k];
  return n == m && hits == n;
}
static bool m_is_unique(const struct m_def *d, const struct m_index *x) {
  for (uint32_t i = 0; i < d->n_uniques; i++)
    if (same_columns_set(x->n, x->cols, d->uniques[i].n, d->uniques[i].cols)) return true;
  return false;
}

static void print_columns(struct lc_buf *out, uint32_t n, const uint16_t *cols) {
  for (uint32_t i = 0; i < n; i++) lc_buf_printf(out, "%sc%u", i ? "," : " ", cols[i]);
  lc_buf_str(out, "\n");
}
static struct lc_module_def *m_module(const struct m_state *s) {
  static const char *const kinds[] = {"btree", "hash", "direct"};
  struct lc_buf out = {0};
  for (uint32_t k = 0; k < s->n; k++) {
    const struct m_def *d = &s->t[k].def;
    lc_buf_printf(&out, "table %s%s%s\n", d->name, d->is_event ? " event" : "", d->is_public ? "" : " private");
    for (uint32_t i = 0; i < d->n_cols; i++) {
      lc_buf_printf(&out, " col c%u %s%s", i, d->cols[i].type, i == 0 && d->has_pk ? " pk" : "");
      if (*d->cols[i].default_hex) lc_buf_printf(&out, " = %s", d->cols[i].default_hex);
      lc_buf_str(&out, "\n");
    }
    for (uint32_t i = 0; i < d->n_cols; i++)
      if (d->cols[i].has_seq) lc_buf_printf(&out, " seq %s c%u\n", d->cols[i].seq, i);
    for (uint32_t i = d->has_pk; i < d->n_indexes; i++) {
      lc_buf_printf(&out, " index %s %s", d->indexes[i].name, kinds[d->indexes[i].kind]);
      print_columns(&out, d->indexes[i].n, d->indexes[i].cols);
    }
    for (uint32_t i = d->has_pk; i < d->n_uniques; i++) {
      lc_buf_printf(&out, " unique %s", d->uniques[i].name);
      print_columns(&out, d->uniques[i].n, d->uniques[i].cols);
    }
  }
  lc_buf_u8(&out, 0);
  struct lc_module_def *def = def_text((const char *)out.data);
  if (getenv("VERBOSE")) fprintf(stderr, "%s\n", (const char *)out.data);
  lc_buf_free(&out);
  return def;
}

static uint32_t next_name;
static void random_columns(const struct m_def *d, uint32_t *n, uint16_t *cols) { /* different ones, in any order */
  uint32_t most = d->n_cols < MAX_KEY ? d->n_cols : MAX_KEY;
  *n = rnd(2) ? 1 : 1 + (uint32_t)rnd(most);
  for (uint32_t i = 0; i < *n;) {
    cols[i] = (uint16_t)rnd(d->n_cols);
    bool twice = false;
    for (uint32_t k = 0; k < i; k++) twice = twice || cols[k] == cols[i];
    i += !twice;
  }
}
static void add_unique(struct m_def *d, const struct m_index *x) {
  if (d->n_uniques == MAX_UNIQUES || m_is_unique(d, x)) return;
  struct m_unique *u = &d->uniques[d->n_uniques++];
  *u = (struct m_unique){.n = x->n};
  snprintf(u->name, sizeof u->name, "k%u", next_name++);
  for (uint32_t i = 0; i < x->n; i++) u->cols[i] = x->cols[(i + 1) % x->n]; /* in another order */
}
static void add_index(struct m_def *d) {
  if (d->n_indexes == MAX_TABLE_INDEXES) return;
  struct m_index *x = &d->indexes[d->n_indexes++];
  *x = (struct m_index){.kind = rnd(4) ? LC_INDEX_BTREE : LC_INDEX_HASH};
  snprintf(x->name, sizeof x->name, "x%u", next_name++);
  random_columns(d, &x->n, x->cols);
  if (x->n == 1 && is_direct(d->cols[x->cols[0]].type) && rnd(2)) x->kind = LC_INDEX_DIRECT;
}
static void add_sequence(struct m_def *d, uint32_t col) {
  if (d->cols[col].has_seq || !is_integer(d->cols[col].type)) return;
  d->cols[col].has_seq = true;
  snprintf(d->cols[col].seq, sizeof d->cols[col].seq, "s%u", next_name++);
}
static void random_def(struct m_def *d) {
  *d = (struct m_def){.is_event = rnd(6) == 0, .is_public = rnd(4) > 0, .n_cols = 1 + (uint32_t)rnd(5)};
  snprintf(d->name, sizeof d->name, "t%u", next_name++);
  for (uint32_t i = 0; i < d->n_cols; i++) d->cols[i].type = i == 0 && rnd(2) ? (rnd(2) ? "u32" : "u64") : type_words[rnd(sizeof type_words / sizeof *type_words)];
  if (rnd(3)) {
    d->has_pk = d->pk_index = true;
    d->n_indexes = d->n_uniques = 1;
    d->indexes[0] = (struct m_index){.kind = LC_INDEX_BTREE, .n = 1};
    d->uniques[0] = (struct m_unique){.n = 1};
    snprintf(d->indexes[0].name, sizeof d->indexes[0].name, "%s_c0_idx_btree", d->name);
    snprintf(d->uniques[0].name, sizeof d->uniques[0].name, "%s_c0_key", d->name);
  }
  for (uint64_t n = rnd(4); n > 0; n--) {
    add_index(d);
    if (rnd(3) == 0) add_unique(d, &d->indexes[d->n_indexes - 1]);
  }
  for (uint32_t i = 0; i < d->n_cols; i++)
    if (rnd(4) == 0) add_sequence(d, i);
}

/* ---- values: few distinct ones, so that they meet, with the extremes among them ---- */

static uint32_t longest_string, value_domain;
static void random_value(const struct lc_type *t, struct lc_buf *out) {
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(out, (uint8_t)rnd(2)); return;
  case LC_T_STRING: {
    static const char *const words[] = {"", "a", "b", "longer than eight", "longer than eighteen bytes", "\xc3\xa9"};
    if (rnd(8)) {
      lc_buf_bsatn_str(out, words[rnd(6)]);
      return;
    }
    uint32_t n = (uint32_t)rnd(longest_string);
    lc_buf_u32(out, n);
    while (n--) lc_buf_u8(out, n ? 'x' : (uint8_t)('a' + rnd(3)));
    return;
  }
  case LC_T_ARRAY: {
    uint32_t n = (uint32_t)rnd(3);
    lc_buf_u32(out, n);
    while (n--) random_value(t->elem, out);
    return;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) random_value(t->fields[i].type, out);
    return;
  case LC_T_SUM: {
    uint32_t tag = (uint32_t)rnd(t->n_fields);
    lc_buf_u8(out, (uint8_t)tag);
    random_value(t->fields[tag].type, out);
    return;
  }
  case LC_T_F32: {
    static const float special[] = {0.0f, -0.0f, __builtin_inff(), -__builtin_inff(), __builtin_nanf(""), -__builtin_nanf("1"), 1.5f, -1.5f};
    float v = rnd(3) ? special[rnd(8)] : (float)rnd(value_domain);
    lc_buf_append(out, &v, 4);
    return;
  }
  case LC_T_F64: {
    static const double special[] = {0.0, -0.0, __builtin_inf(), -__builtin_inf(), __builtin_nan(""), -__builtin_nan("7"), 5e-324, -1e300};
    double v = rnd(3) ? special[rnd(8)] : (double)rnd(value_domain);
    lc_buf_append(out, &v, 8);
    return;
  }
  default: {
    uint8_t bytes[32] = {0};
    uint32_t n = reference_number_bytes(t->kind);
    uint16_t v = (uint16_t)rnd(value_domain);
    memcpy(bytes, &v, 2);
    if (n == 1) bytes[1] = 0;
    if (rnd(16) == 0) memset(bytes, 0xff, n);
    if (rnd(8) == 0) bytes[n - 1] ^= (uint8_t)(1 + rnd(0x83));
    lc_buf_append(out, bytes, n);
  }
  }
}
static void random_row(const struct m_table *t, struct lc_buf *out) { /* often one that is there, or one that shares some columns with it */
  lc_buf_u8(out, 0); /* a row without bytes lies somewhere */
  lc_buf_clear(out);
  const struct row *like = t->rows.n && rnd(3) ? t->rows.r[rnd(t->rows.n)] : NULL;
  uint64_t change = rnd(3); /* nothing, one column in two, all but the first */
  for (uint32_t i = 0; i < t->type->n_fields; i++) {
    const uint8_t *p = like ? reference_column(t->type, like->data, i) : NULL;
    bool keep = like && (change == 0 || (change == 1 ? rnd(2) : i == 0));
    if (keep) lc_buf_append(out, p, (size_t)(reference_skip(t->type->fields[i].type, p) - p));
    else random_value(t->type->fields[i].type, out);
  }
}

/* ---- keys ---- */

static int column_compare(const struct lc_type *type, uint32_t col, const uint8_t *row_a, const uint8_t *row_b) {
  return reference_compare(type->fields[col].type, reference_column(type, row_a, col), reference_column(type, row_b, col));
}
/* The first n key columns of two rows. */
static int rows_key_compare(const struct lc_type *type, const uint16_t *cols, uint32_t n, const uint8_t *a, const uint8_t *b) {
  for (uint32_t i = 0; i < n; i++) {
    int c = column_compare(type, cols[i], a, b);
    if (c) return c;
  }
  return 0;
}
static void column_append(const struct lc_type *type, uint32_t col, const uint8_t *row, struct lc_buf *out) {
  const uint8_t *p = reference_column(type, row, col);
  lc_buf_append(out, p, (size_t)(reference_skip(type->fields[col].type, p) - p));
}
/* Position of a row other than `except` that agrees with `row` in these columns, or -1. */
static int32_t key_position(const struct m_table *t, uint32_t n, const uint16_t *cols, const uint8_t *row, int32_t except) {
  for (uint32_t i = 0; i < t->rows.n; i++)
    if ((int32_t)i != except && rows_key_compare(t->type, cols, n, t->rows.r[i]->data, row) == 0) return (int32_t)i;
  return -1;
}
/* What becomes of putting this row in the place of `except` (-1: of none): -1: it is there already, nothing to do; else an errno. */
static int m_put_result(const struct m_table *t, struct lc_slice row, int32_t except) {
  int32_t same = rows_position(&t->rows, row);
  if (same >= 0 && (except < 0 || same == except)) return -1;
  for (uint32_t i = 0; i < t->def.n_uniques; i++)
    if (key_position(t, t->def.uniques[i].n, t->def.uniques[i].cols, row.data, except) >= 0) return LC_ERRNO_UNIQUE_EXISTS;
  return LC_ERRNO_OK;
}
/* Fills the auto-increment columns that are zero; what is generated goes to *generated. */
static void m_fill(struct m_table *t, struct lc_buf *row, struct lc_buf *generated) {
  for (uint32_t i = 0; i < t->def.n_cols; i++) {
    static const uint8_t zeros[32];
    if (!t->def.cols[i].has_seq) continue;
    uint8_t *at = row->data + (reference_column(t->type, row->data, i) - row->data), value[32] = {0};
    uint32_t n = reference_number_bytes(t->type->fields[i].type->kind);
    if (memcmp(at, zeros, n) != 0) continue;
    memcpy(value, &t->next[i], 16);
    memcpy(at, value, n);
    t->next[i]++;
    lc_buf_append(generated, value, n);
  }
}

/* A range over an index: the first `prefix` columns as in `low`, then bounds on the next one, from `low` and `high`; tags 0 incl, 1 excl, 2 open. */
struct m_range { const struct m_index *x; uint32_t prefix; uint8_t low_tag, high_tag; const uint8_t *low, *high; };
static bool m_in_range(const struct lc_type *type, const struct m_range *r, const uint8_t *row) {
  if (rows_key_compare(type, r->x->cols, r->prefix, row, r->low) != 0) return false;
  uint16_t col = r->x->cols[r->prefix];
  int low = r->low_tag == 2 ? 1 : column_compare(type, col, row, r->low), high = r->high_tag == 2 ? -1 : column_compare(type, col, row, r->high);
  return (low > 0 || (low == 0 && r->low_tag == 0)) && (high < 0 || (high == 0 && r->high_tag == 0));
}
static void m_bound(const struct lc_type *type, uint16_t col, uint8_t tag, const uint8_t *row, struct lc_buf *out) {
  lc_buf_u8(out, tag);
  if (tag < 2) column_append(type, col, row, out);
}

/* ---- what is there against what must be there ---- */

static struct rows collect(struct lc_row_iter *it, bool in_runs) {
  struct rows got = {0};
  struct lc_row_run run;
  if (in_runs)
    while (lc_row_iter_run(it, &run))
      for (uint32_t i = 0; i < run.n; i++) rows_push(&got, row_new(lc_slice(run.rows + (size_t)i * run.stride_bytes, run.row_bytes)));
  else
    for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) rows_push(&got, row_new(row));
  lc_row_iter_close(it);
  return got;
}
/* x (may be NULL): an index by whose columns they must be ordered. Frees both. */
static void expect_rows(const struct lc_type *type, const struct m_index *x, struct rows got, struct rows want) {
  for (uint32_t i = 1; x && i < got.n; i++) CHECK(rows_key_compare(type, x->cols, x->n, got.r[i - 1]->data, got.r[i]->data) <= 0);
  CHECK(rows_equal(&got, &want));
  rows_free(&got);
  rows_free(&want);
}

static const struct lc_index_info *info_of_index(const struct lc_table_info *t, const struct m_index *x) {
  for (uint32_t i = 0; i < t->n_indexes; i++)
    if (lc_slice_eq_str(t->indexes[i].name, x->name)) return &t->indexes[i];
  return NULL;
}

static void check_table(struct lc_read_view v, const struct m_table *t) {
  const struct lc_table_info *info = lc_view_table_by_name(v, lc_slice_str(t->def.name));
  struct lc_row_iter *it;
  CHECK(info && info->table_id == t->id && info == lc_view_table(v, t->id));
  CHECK(info->is_public == t->def.is_public && info->is_event == t->def.is_event && info->primary_key == (t->def.has_pk ? 0 : -1) && lc_type_eq(info->row_type, t->type));
  CHECK(info->n_indexes == t->def.n_indexes);
  CHECK(lc_view_row_count(v, t->id) == t->rows.n);
  CHECK(lc_view_scan(v, t->id, &it) == LC_ERRNO_OK);
  expect_rows(t->type, NULL, collect(it, rnd(2)), rows_copy(&t->rows));
  for (uint32_t i = 0; i < t->def.n_indexes; i++) { /* in order through each index that has one */
    const struct m_index *x = &t->def.indexes[i];
    const struct lc_index_info *in = info_of_index(info, x);
    struct lc_slice open = lc_slice("\2", 1);
    CHECK(in && in->kind == x->kind && in->is_unique == m_is_unique(&t->def, x) && in->n_columns == x->n && memcmp(in->columns, x->cols, x->n * sizeof *x->cols) == 0);
    int rc = lc_view_scan_range(v, in->index_id, lc_slice(NULL, 0), 0, open, open, &it, NULL);
    CHECK(rc == (x->kind == LC_INDEX_HASH ? LC_ERRNO_WRONG_INDEX_ALGO : LC_ERRNO_OK));
    if (rc == LC_ERRNO_OK) expect_rows(t->type, x, collect(it, rnd(2)), rows_copy(&t->rows));
  }
  if (v.schema) return;
  const struct table *live = ds_table(v.ds, t->id); /* its trees hold their invariants and agree in number */
  lc_tree_check(&live->rows);
  if (live->numbered) {
    lc_tree_check(&live->by_hash);
    CHECK(lc_tree_count(&live->by_hash) == t->rows.n);
  }
  for (uint32_t i = 0; i < info->n_indexes; i++) {
    if (live->indexes[i].is_cluster) continue;
    lc_tree_check(&live->indexes[i].tree);
    CHECK(lc_tree_count(&live->indexes[i].tree) == t->rows.n);
  }
}

struct count_tables { uint32_t n; };
static void count_table(void *ctx, const struct lc_table_info *t) { ((struct count_tables *)ctx)->n += t->table_id >= LC_FIRST_USER_ID; }
static void check_state(struct lc_read_view v, const struct m_state *s) {
  struct count_tables c = {0};
  lc_view_each_table(v, count_table, &c);
  CHECK(c.n == s->n);
  for (uint32_t i = 0; i < s->n; i++) check_table(v, &s->t[i]);
}
#endif
