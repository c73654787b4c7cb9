/* SELECT over one table: parsing, name resolution, typing, and running (spec/05 §3-§6, §12). A plan's memory is its arena; it refers to the
 * table by id, so that it survives schema changes that leave the table alone (the holder compiles again when the schema version moves).
 *
 * Running uses an index when a conjunct fixes all columns of one; otherwise it scans. Callers: live/, db/.
 */
#include "lexer.h"
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { MAX_SQL_BYTES = 50000, MAX_DEPTH = 47, MAX_NODES = 1600, MAX_ITEMS = 1024 };
enum op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_AND, OP_OR, OP_COLUMN, OP_VALUE };
struct expr { enum op op; struct expr *left, *right; uint16_t column; const struct lc_type *type; struct lc_slice value; struct token literal; bool is_literal, is_sender; };

struct lc_plan {
  struct lc_arena arena;
  struct lc_datastore *ds;
  enum lc_sql_kind kind;
  uint32_t table_id;
  const struct lc_type *table_type, *row_type;
  bool whole_row;
  uint32_t n_items; const uint16_t *items;
  struct expr *where;
  uint64_t limit;
  struct lc_slice key;
  uint32_t index_id; bool has_index; struct lc_slice index_key;
};

struct parser { struct lexer lex; struct token t; struct lc_plan *plan; const struct lc_table_info *table; struct lc_slice scope; const struct lc_sql_caller *caller; struct lc_error *err; uint32_t n_nodes; bool one_off; };
#define T(s) (int)(s).len, (const char *)(s).data

static bool advance(struct parser *p) { return lexer_next(&p->lex, &p->t, p->err) == LC_OK; }
static bool fail(struct parser *p, enum lc_status st, const char *text) {
  lc_fail(p->err, st, "%s", text);
  return false;
}
static bool expected(struct parser *p, const char *what) {
  if (p->t.kind == TOKEN_END) lc_fail(p->err, LC_INVALID, "sql parser error: Expected %s, found: EOF", what);
  else {
    unsigned line = 1, column = 1;
    for (size_t i = 0; i < p->t.at; i++) {
      if (p->lex.sql.data[i] == '\n') line++, column = 1;
      else if ((p->lex.sql.data[i] & 0xc0) != 0x80) column++;
    }
    lc_fail(p->err, LC_INVALID, "sql parser error: Expected %s, found: %.*s at Line: %u, Column %u", what, (int)(p->lex.at - p->t.at), (const char *)p->lex.sql.data + p->t.at, line, column);
  }
  return false;
}
static bool is_name(const struct token *t) { return t->kind == TOKEN_WORD || t->kind == TOKEN_QUOTED; }

/* a or a.b.c: *last is the last part, *rest what stands before it joined by dots (empty: nothing). */
static bool name(struct parser *p, struct lc_slice *rest, struct lc_slice *last) {
  struct lc_buf joined = {0};
  *rest = lc_slice(NULL, 0);
  if (!is_name(&p->t)) return expected(p, "identifier");
  *last = p->t.text;
  if (!advance(p)) return false;
  while (token_is_symbol(&p->t, ".")) {
    struct lexer before = p->lex;
    struct token dot = p->t;
    if (!advance(p)) return lc_buf_free(&joined), false;
    if (!is_name(&p->t)) { /* t.* : leave the dot to the caller */
      p->lex = before;
      p->t = dot;
      break;
    }
    if (joined.len) lc_buf_u8(&joined, '.');
    lc_buf_slice_append(&joined, *last);
    *last = p->t.text;
    if (!advance(p)) return lc_buf_free(&joined), false;
  }
  if (joined.len) *rest = lc_arena_copy(&p->plan->arena, lc_buf_slice(&joined));
  lc_buf_free(&joined);
  return true;
}

static bool column_named(struct parser *p, struct lc_slice rest, struct lc_slice last, uint16_t *column) {
  const struct lc_type *row = p->table->row_type;
  if (rest.len && !lc_slice_eq(rest, p->scope)) return lc_fail(p->err, LC_INVALID, "`%.*s` is not in scope", T(rest)), false;
  for (uint32_t i = 0; i < row->n_fields; i++)
    if (lc_slice_eq(row->fields[i].name, last)) return *column = (uint16_t)i, true;
  return lc_fail(p->err, LC_INVALID, "`%.*s` is not in scope", T(last)), false;
}

static struct expr *node(struct parser *p, enum op op) {
  struct expr *e = ++p->n_nodes > 2 * MAX_NODES ? NULL : lc_arena_alloc_zero(&p->plan->arena, 1, sizeof *e);
  if (!e) fail(p, LC_LIMIT, "Recursion limit exceeded, `sql-parser::parse_expr`");
  else e->op = op;
  return e;
}

/* ---- literals take the type of the other side (spec/05 §6) ---- */

static void type_text(struct lc_buf *b, const struct lc_type *t) { lc_type_display(b, t); }
static bool cannot_parse(struct parser *p, struct lc_slice text, const struct lc_type *t) {
  struct lc_buf b = {0};
  type_text(&b, t);
  lc_fail(p->err, LC_INVALID, "The literal expression `%.*s` cannot be parsed as type `%.*s`", T(text), T(lc_buf_slice(&b)));
  lc_buf_free(&b);
  return false;
}

/* Decimal text with optional fraction and exponent as plain integer digits; false unless integral and at most 80 digits. */
static bool integral(struct lc_slice text, char digits[96]) {
  char mantissa[96];
  size_t i = 0, n = 0;
  long point = -1, exponent = 0;
  bool negative = text.len && text.data[0] == '-';
  if (text.len && (text.data[0] == '-' || text.data[0] == '+')) i++;
  size_t first = i;
  for (; i < text.len && ((text.data[i] >= '0' && text.data[i] <= '9') || text.data[i] == '.'); i++) {
    if (text.data[i] == '.' && point >= 0) return false;
    if (text.data[i] == '.') point = (long)n;
    else if (n == 80) return false;
    else mantissa[n++] = (char)text.data[i];
  }
  if (n == 0 || i == first) return false;
  if (i < text.len && (text.data[i] == 'e' || text.data[i] == 'E')) {
    char *end, number[24];
    size_t len = text.len - i - 1;
    if (len == 0 || len >= sizeof number) return false;
    memcpy(number, text.data + i + 1, len);
    number[len] = 0;
    exponent = strtol(number, &end, 10);
    if (*end || exponent > 80 || exponent < -80) return false;
    i = text.len;
  }
  if (i != text.len) return false;
  long fraction = point < 0 ? 0 : (long)n - point;
  exponent -= fraction;
  while (exponent < 0 && n > 1 && mantissa[n - 1] == '0') n--, exponent++;
  if (exponent < 0 && !(n == 1 && mantissa[0] == '0')) return false;
  size_t at = 0, skip = 0;
  while (skip + 1 < n && mantissa[skip] == '0') skip++;
  bool zero = n == skip + 1 && mantissa[skip] == '0';
  if (negative && !zero) digits[at++] = '-';
  for (size_t k = skip; k < n; k++) digits[at++] = mantissa[k];
  for (; !zero && exponent > 0 && at < 90; exponent--) digits[at++] = '0';
  digits[at] = 0;
  return zero || exponent <= 0;
}

static bool literal(struct parser *p, struct expr *e, const struct lc_type *t) {
  struct lc_slice text = e->literal.text;
  struct lc_buf out = {0};
  bool ok = false;
  char digits[96];
  if (e->is_sender) {
    if (t->special == LC_SPECIAL_IDENTITY) lc_buf_append(&out, p->caller->identity.bytes, 32), ok = true;
    else if (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8) {
      lc_buf_u32(&out, 32);
      for (int i = 31; i >= 0; i--) lc_buf_u8(&out, p->caller->identity.bytes[i]);
      ok = true;
    } else {
      struct lc_buf b = {0};
      type_text(&b, t);
      lc_fail(p->err, LC_INVALID, "Unexpected type: (expected) (__identity__: U256) != %.*s (inferred)", T(lc_buf_slice(&b)));
      lc_buf_free(&b);
      return false;
    }
  } else if (t->special == LC_SPECIAL_IDENTITY || t->special == LC_SPECIAL_CONNECTION_ID) {
    struct lc_identity id;
    struct lc_connection_id conn;
    bool identity = t->special == LC_SPECIAL_IDENTITY;
    ok = identity ? lc_identity_parse(text, &id) : lc_connection_id_parse(text, &conn);
    if (ok) lc_buf_append(&out, identity ? id.bytes : conn.bytes, identity ? 32 : 16);
  } else if (t->kind == LC_T_STRING) {
    lc_buf_bsatn_bytes(&out, text);
    ok = true;
  } else if (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8) {
    if (text.len >= 2 && memcmp(text.data, "0x", 2) == 0) text = lc_slice(text.data + 2, text.len - 2);
    lc_buf_u32(&out, (uint32_t)(text.len / 2));
    ok = lc_buf_reserve(&out, text.len / 2 + 1) && lc_hex_decode((const char *)text.data, text.len, out.data + out.len);
    out.len += text.len / 2;
  } else if (t->kind >= LC_T_I8 && t->kind <= LC_T_U128) {
    ok = integral(text, digits) && lc_json_parse_value(lc_slice_str(digits), t, NULL, &out, NULL) == LC_OK;
  } else if (t->kind == LC_T_F32 || t->kind == LC_T_F64) {
    char number[128], *end;
    ok = text.len > 0 && text.len < sizeof number;
    if (ok) {
      memcpy(number, text.data, text.len);
      number[text.len] = 0;
      double d = strtod(number, &end) + 0.0;
      float f = (float)d;
      ok = *end == 0;
      lc_buf_append(&out, t->kind == LC_T_F64 ? (void *)&d : (void *)&f, t->static_size_bytes);
    }
  }
  if (ok && lc_buf_ok(&out)) {
    e->value = lc_arena_copy(&p->plan->arena, lc_buf_slice(&out));
    e->type = t;
  }
  lc_buf_free(&out);
  return ok || cannot_parse(p, e->literal.text, t);
}

static bool comparable(const struct lc_type *t) {
  if (t->special == LC_SPECIAL_IDENTITY || t->special == LC_SPECIAL_CONNECTION_ID || t->special == LC_SPECIAL_TIMESTAMP || t->special == LC_SPECIAL_UUID) return true;
  return t->kind >= LC_T_STRING || (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8);
}

static bool mismatch(struct parser *p, const struct lc_type *found, const struct lc_type *wanted) {
  struct lc_buf a = {0}, b = {0};
  type_text(&a, found);
  type_text(&b, wanted);
  lc_fail(p->err, LC_INVALID, "Unexpected type: (expected) %.*s != %.*s (inferred)", T(lc_buf_slice(&a)), T(lc_buf_slice(&b)));
  lc_buf_free(&a);
  lc_buf_free(&b);
  return false;
}

static bool compare_types(struct parser *p, struct expr *e) {
  static const char *const ops[] = {"=", "<>", "<", "<=", ">", ">="};
  struct expr *l = e->left, *r = e->right;
  if (!l->type && !r->type) return fail(p, LC_INVALID, "Cannot resolve type for literal expression");
  if (!l->type && !literal(p, l, r->type)) return false;
  if (!r->type && !literal(p, r, l->type)) return false;
  if (!lc_type_eq(l->type, r->type)) return mismatch(p, r->type, l->type);
  if (!comparable(l->type)) {
    struct lc_buf b = {0};
    type_text(&b, l->type);
    lc_fail(p->err, LC_INVALID, "Invalid binary operator `%s` for type `%.*s`", ops[e->op], T(lc_buf_slice(&b)));
    lc_buf_free(&b);
    return false;
  }
  e->type = lc_type_primitive(LC_T_BOOL);
  return true;
}

static struct expr *predicate(struct parser *p, unsigned depth);

static struct expr *operand(struct parser *p, unsigned depth) {
  struct expr *e;
  if (depth > MAX_DEPTH) return fail(p, LC_LIMIT, "sql parser error: recursion limit exceeded"), NULL;
  if (token_is_symbol(&p->t, "(")) {
    if (!advance(p) || !(e = predicate(p, depth + 1))) return NULL;
    if (!token_is_symbol(&p->t, ")")) return expected(p, ")"), NULL;
    return advance(p) ? e : NULL;
  }
  if (token_is_word(&p->t, "true") || token_is_word(&p->t, "false")) {
    if (!(e = node(p, OP_VALUE))) return NULL;
    e->type = lc_type_primitive(LC_T_BOOL);
    e->value = lc_slice(token_is_word(&p->t, "true") ? "\1" : "\0", 1);
    return advance(p) ? e : NULL;
  }
  bool minus = token_is_symbol(&p->t, "-");
  if (minus || token_is_symbol(&p->t, "+")) {
    if (!advance(p)) return NULL;
    if (p->t.kind != TOKEN_NUMBER) return lc_fail(p->err, LC_INVALID, "Unsupported expression: %s%.*s", minus ? "-" : "+", T(p->t.text)), NULL;
    if (minus) {
      char *text = lc_arena_alloc(&p->plan->arena, p->t.text.len + 2);
      if (!text) return fail(p, LC_NOMEM, "out of memory"), NULL;
      text[0] = '-';
      memcpy(text + 1, p->t.text.data, p->t.text.len);
      p->t.text = lc_slice(text, p->t.text.len + 1);
    }
  }
  if (p->t.kind == TOKEN_NUMBER || p->t.kind == TOKEN_STRING || p->t.kind == TOKEN_HEX || p->t.kind == TOKEN_SENDER) {
    if (!(e = node(p, OP_VALUE))) return NULL;
    e->literal = p->t;
    e->is_literal = true;
    e->is_sender = p->t.kind == TOKEN_SENDER;
    return advance(p) ? e : NULL;
  }
  struct lc_slice rest, last;
  if (!is_name(&p->t)) return expected(p, "an expression:"), NULL;
  if (!name(p, &rest, &last) || !(e = node(p, OP_COLUMN)) || !column_named(p, rest, last, &e->column)) return NULL;
  e->type = p->table->row_type->fields[e->column].type;
  return e;
}

static bool comparison_op(const struct token *t, enum op *op) {
  static const struct { const char *text; enum op op; } ops[] = {{"=", OP_EQ}, {"==", OP_EQ}, {"<>", OP_NE}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE}, {">", OP_GT}, {">=", OP_GE}};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    if (token_is_symbol(t, ops[i].text)) return *op = ops[i].op, true;
  return false;
}

static struct expr *comparison(struct parser *p, unsigned depth) {
  struct expr *left = operand(p, depth);
  enum op op;
  while (left && comparison_op(&p->t, &op)) {
    struct expr *e = node(p, op);
    if (!e || !advance(p)) return NULL;
    e->left = left;
    e->right = operand(p, depth);
    if (!e->right || !compare_types(p, e)) return NULL;
    left = e;
  }
  return left;
}

static bool need_bool(struct parser *p, struct expr *e) {
  if (!e->type) return fail(p, LC_INVALID, "Cannot resolve type for literal expression");
  return e->type->kind == LC_T_BOOL || mismatch(p, e->type, lc_type_primitive(LC_T_BOOL));
}

static struct expr *chain(struct parser *p, unsigned depth, enum op op) {
  struct expr *left = op == OP_OR ? chain(p, depth, OP_AND) : comparison(p, depth);
  while (left && token_is_word(&p->t, op == OP_OR ? "or" : "and")) {
    struct expr *e = node(p, op);
    if (!e || !advance(p)) return NULL;
    e->left = left;
    e->right = op == OP_OR ? chain(p, depth, OP_AND) : comparison(p, depth);
    if (!e->right || !need_bool(p, e->left) || !need_bool(p, e->right)) return NULL;
    e->type = lc_type_primitive(LC_T_BOOL);
    left = e;
  }
  return left;
}
static struct expr *predicate(struct parser *p, unsigned depth) { return chain(p, depth, OP_OR); }

/* ---- statement ---- */

struct item { struct lc_slice rest, last, alias; };

static bool table_ref(struct parser *p) {
  struct lc_slice rest, last, full;
  if (!name(p, &rest, &last)) return false;
  struct lc_buf b = {0};
  if (rest.len) lc_buf_printf(&b, "%.*s.", T(rest));
  lc_buf_slice_append(&b, last);
  full = lc_arena_copy(&p->plan->arena, lc_buf_slice(&b));
  lc_buf_free(&b);
  p->table = lc_datastore_table_by_name(p->plan->ds, full);
  if (!p->table || (!p->table->is_public && !p->caller->is_owner)) return lc_fail(p->err, LC_NOT_FOUND, "no such table: `%.*s`. If the table exists, it may be marked private.", T(full)), false;
  p->scope = full;
  bool as = token_is_word(&p->t, "as");
  if (as && !advance(p)) return false;
  static const char *const reserved[] = {"where", "limit", "join", "inner", "cross", "left", "right", "full", "natural", "order", "group", "having", "on", "union", "offset"};
  bool is_alias = is_name(&p->t);
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved && !as; i++) is_alias = is_alias && !token_is_word(&p->t, reserved[i]);
  if (!is_alias) return true;
  p->scope = p->t.text;
  return advance(p);
}

static bool row_type(struct parser *p, const struct item *items, uint32_t n, bool wildcard, bool count) {
  struct lc_plan *plan = p->plan;
  struct lc_type_field *f = lc_arena_alloc_zero(&plan->arena, n ? n : 1, sizeof *f);
  uint16_t *columns = lc_arena_alloc_zero(&plan->arena, n ? n : 1, sizeof *columns);
  if (!f || !columns) return fail(p, LC_NOMEM, "out of memory");
  plan->table_type = p->table->row_type;
  if (wildcard) {
    if (n && items[0].last.len && !lc_slice_eq(items[0].last, p->scope)) return lc_fail(p->err, LC_INVALID, "`%.*s` is not in scope", T(items[0].last)), false;
    plan->whole_row = true;
    plan->row_type = plan->table_type;
    return true;
  }
  if (count) {
    plan->kind = LC_SQL_COUNT;
    f[0] = (struct lc_type_field){items[0].alias, true, lc_type_primitive(LC_T_U64)};
    plan->row_type = lc_type_new_product(&plan->arena, 1, f);
    return plan->row_type || fail(p, LC_NOMEM, "out of memory");
  }
  if (!p->one_off) return fail(p, LC_INVALID, "Column projections are not supported in subscriptions; Subscriptions must return a table type");
  for (uint32_t i = 0; i < n; i++) {
    if (!column_named(p, items[i].rest, items[i].last, &columns[i])) return false;
    f[i] = (struct lc_type_field){items[i].alias.len ? items[i].alias : items[i].last, true, plan->table_type->fields[columns[i]].type};
    for (uint32_t k = 0; k < i; k++)
      if (lc_slice_eq(f[k].name, f[i].name)) return lc_fail(p->err, LC_INVALID, "Duplicate name `%.*s`", T(f[i].name)), false;
  }
  plan->n_items = n;
  plan->items = columns;
  plan->row_type = lc_type_new_product(&plan->arena, n, f);
  return plan->row_type || fail(p, LC_NOMEM, "out of memory");
}

static bool select_statement(struct parser *p) {
  struct item *items = lc_arena_alloc_zero(&p->plan->arena, MAX_ITEMS, sizeof *items);
  uint32_t n = 0;
  bool wildcard = false, count = false;
  if (!items) return fail(p, LC_NOMEM, "out of memory");
  while (token_is_symbol(&p->t, ";"))
    if (!advance(p)) return false;
  if (p->t.kind == TOKEN_END) return fail(p, LC_INVALID, "Empty SQL query");
  if (token_is_word(&p->t, "insert") || token_is_word(&p->t, "update") || token_is_word(&p->t, "delete") || token_is_word(&p->t, "set") || token_is_word(&p->t, "show"))
    return fail(p, LC_UNSUPPORTED, p->one_off ? "Unsupported: DML statements are not supported by this build" : "Unsupported: Non-SELECT queries");
  if (!token_is_word(&p->t, "select")) return expected(p, "an SQL statement");
  if (!advance(p)) return false;
  if (token_is_word(&p->t, "all") && !advance(p)) return false;
  do {
    if (n && !advance(p)) return false;
    if (n == MAX_ITEMS) return fail(p, LC_LIMIT, "too many columns in the projection");
    struct item *it = &items[n++];
    if (token_is_symbol(&p->t, "*")) {
      wildcard = true;
      if (!advance(p)) return false;
      continue;
    }
    if (!name(p, &it->rest, &it->last)) return false;
    if (token_is_symbol(&p->t, ".")) { /* t.* */
      if (!advance(p)) return false;
      if (!token_is_symbol(&p->t, "*")) return expected(p, "identifier");
      wildcard = true;
      if (!advance(p)) return false;
      continue;
    }
    if (token_is_symbol(&p->t, "(")) {
      if (!advance(p) || !token_is_symbol(&p->t, "*") || !advance(p) || !token_is_symbol(&p->t, ")") || !advance(p)) return lc_fail(p->err, LC_INVALID, "Unsupported aggregate function: %.*s", T(it->last)), false;
      if (it->last.len != 5 || strncasecmp((const char *)it->last.data, "count", 5) != 0) return lc_fail(p->err, LC_INVALID, "Unsupported aggregate function: %.*s", T(it->last)), false;
      count = true;
    }
    bool as = token_is_word(&p->t, "as");
    if (as && !advance(p)) return false;
    if (as || (is_name(&p->t) && !token_is_word(&p->t, "from"))) {
      if (!is_name(&p->t)) return expected(p, "identifier");
      it->alias = p->t.text;
      if (!advance(p)) return false;
    }
    if (count && !it->alias.len) return fail(p, LC_INVALID, "Aggregate expressions must have column aliases");
  } while (token_is_symbol(&p->t, ","));
  if (wildcard && n > 1) return fail(p, LC_INVALID, "Mixed wildcard projections are not supported");
  if (count && n > 1) return fail(p, LC_INVALID, "Unsupported projection: COUNT(*) beside other columns");
  if (!token_is_word(&p->t, "from")) return fail(p, LC_INVALID, "A FROM clause is required");
  if (!advance(p) || !table_ref(p)) return false;
  if (token_is_symbol(&p->t, ",")) return fail(p, LC_INVALID, "Implicit joins are not supported");
  if (token_is_word(&p->t, "join") || token_is_word(&p->t, "inner") || token_is_word(&p->t, "cross")) return fail(p, LC_UNSUPPORTED, "Unsupported: joins are not supported by this build");
  if (!row_type(p, items, n, wildcard, count)) return false;
  if (count && !p->one_off) return fail(p, LC_INVALID, "Column projections are not supported in subscriptions; Subscriptions must return a table type");
  if (token_is_word(&p->t, "where")) {
    if (!advance(p) || !(p->plan->where = predicate(p, 0)) || !need_bool(p, p->plan->where)) return false;
  }
  p->plan->limit = UINT64_MAX;
  if (token_is_word(&p->t, "limit")) {
    char digits[96], *end;
    if (!advance(p)) return false;
    if (!token_is_word(&p->t, "all")) {
      if (!p->one_off || p->t.kind != TOKEN_NUMBER) return lc_fail(p->err, LC_INVALID, "Unsupported: %.*s", T(p->lex.sql)), false;
      if (!integral(p->t.text, digits)) return cannot_parse(p, p->t.text, lc_type_primitive(LC_T_U64));
      p->plan->limit = strtoull(digits, &end, 10);
    }
    if (!advance(p)) return false;
  }
  bool ended = false;
  for (; token_is_symbol(&p->t, ";"); ended = true)
    if (!advance(p)) return false;
  if (p->t.kind == TOKEN_END) return true;
  return ended ? fail(p, LC_INVALID, "Multiple SQL statements are not supported") : expected(p, "end of statement");
}

/* ---- choosing an index ---- */

static const struct expr *fixed(const struct expr *e, uint16_t column) {
  if (!e) return NULL;
  if (e->op == OP_AND) {
    const struct expr *found = fixed(e->left, column);
    return found ? found : fixed(e->right, column);
  }
  if (e->op != OP_EQ) return NULL;
  if (e->left->op == OP_COLUMN && e->left->column == column && e->right->op == OP_VALUE) return e->right;
  if (e->right->op == OP_COLUMN && e->right->column == column && e->left->op == OP_VALUE) return e->left;
  return NULL;
}

static void choose_index(struct lc_plan *plan, const struct lc_table_info *t) {
  for (uint32_t i = 0; i < t->n_indexes && !plan->has_index; i++) {
    struct lc_buf key = {0};
    bool all = true;
    for (uint32_t k = 0; k < t->indexes[i].n_columns && all; k++) {
      const struct expr *v = fixed(plan->where, t->indexes[i].columns[k]);
      all = v && lc_type_is_bitwise(v->type);
      if (all) lc_buf_slice_append(&key, v->value);
    }
    if (all && lc_buf_ok(&key)) {
      plan->has_index = true;
      plan->index_id = t->indexes[i].index_id;
      plan->index_key = lc_arena_copy(&plan->arena, lc_buf_slice(&key));
    }
    lc_buf_free(&key);
  }
}

static bool uses_sender(const struct expr *e) { return e && (e->is_sender || uses_sender(e->left) || uses_sender(e->right)); }

enum lc_status lc_sql_compile(struct lc_datastore *ds, struct lc_slice sql, enum lc_sql_language language, const struct lc_sql_caller *caller, struct lc_plan **out, struct lc_error *err) {
  if (sql.len > MAX_SQL_BYTES) return lc_fail(err, LC_LIMIT, "SQL query exceeds maximum allowed length: \"%.120s...\"", (const char *)sql.data);
  struct lc_plan *plan = lc_alloc_zero(1, sizeof *plan);
  if (!plan) return lc_fail(err, LC_NOMEM, "out of memory");
  struct lc_error scratch = {0};
  plan->ds = ds;
  struct parser p = {.lex = {.arena = &plan->arena}, .plan = plan, .caller = caller, .err = err ? err : &scratch, .one_off = language == LC_SQL_ONE_OFF};
  while (sql.len && (sql.data[sql.len - 1] == ' ' || sql.data[sql.len - 1] == '\n')) sql.len--;
  p.lex.sql = lc_arena_copy(&plan->arena, sql);
  bool ok = p.lex.sql.data && advance(&p) && select_statement(&p);
  if (ok) {
    struct lc_buf key = {0};
    lc_buf_slice_append(&key, sql);
    if (uses_sender(plan->where)) lc_buf_append(&key, caller->identity.bytes, 32);
    lc_buf_u8(&key, caller->is_owner);
    plan->key = lc_arena_copy(&plan->arena, lc_buf_slice(&key));
    lc_buf_free(&key);
    plan->table_id = p.table->table_id;
    choose_index(plan, p.table);
  }
  if (!ok) {
    enum lc_status st = p.err->status ? p.err->status : LC_NOMEM;
    lc_plan_free(plan);
    return st;
  }
  *out = plan;
  return LC_OK;
}

void lc_plan_free(struct lc_plan *plan) {
  if (!plan) return;
  lc_arena_free(&plan->arena);
  lc_free(plan);
}
enum lc_sql_kind lc_plan_kind(const struct lc_plan *plan) { return plan->kind; }
const struct lc_table_info *lc_plan_table(const struct lc_plan *plan) { return plan->whole_row ? lc_datastore_table(plan->ds, plan->table_id) : NULL; }
const struct lc_type *lc_plan_row_type(const struct lc_plan *plan) { return plan->row_type; }
struct lc_slice lc_plan_key(const struct lc_plan *plan) { return plan->key; }

/* ---- running ---- */

static bool holds(const struct lc_plan *plan, const struct expr *e, const uint8_t *row);
static const uint8_t *value_of(const struct lc_plan *plan, const struct expr *e, const uint8_t *row, uint8_t *scratch) {
  if (e->op == OP_VALUE) return e->value.data;
  if (e->op == OP_COLUMN) return lc_row_column(plan->table_type, row, e->column);
  *scratch = holds(plan, e, row);
  return scratch;
}
static bool holds(const struct lc_plan *plan, const struct expr *e, const uint8_t *row) {
  uint8_t a, b;
  if (e->op == OP_AND) return holds(plan, e->left, row) && holds(plan, e->right, row);
  if (e->op == OP_OR) return holds(plan, e->left, row) || holds(plan, e->right, row);
  if (e->op == OP_VALUE || e->op == OP_COLUMN) return *value_of(plan, e, row, &a) != 0;
  int c = lc_bsatn_compare(e->left->type, value_of(plan, e->left, row, &a), value_of(plan, e->right, row, &b));
  switch (e->op) {
  case OP_EQ: return c == 0;
  case OP_NE: return c != 0;
  case OP_LT: return c < 0;
  case OP_LE: return c <= 0;
  case OP_GT: return c > 0;
  default: return c >= 0;
  }
}

bool lc_plan_matches(const struct lc_plan *plan, struct lc_slice row) { return !plan->where || holds(plan, plan->where, row.data); }

bool lc_plan_equality(const struct lc_plan *plan, uint16_t *column, struct lc_slice *value) {
  for (uint32_t i = 0; plan->where && i < plan->table_type->n_fields; i++) {
    const struct expr *v = fixed(plan->where, (uint16_t)i);
    if (!v || !lc_type_is_bitwise(v->type)) continue;
    *column = (uint16_t)i;
    *value = v->value;
    return true;
  }
  return false;
}

enum lc_status lc_plan_run(const struct lc_plan *plan, struct lc_read_view view, bool (*fn)(void *ctx, struct lc_slice row), void *ctx, struct lc_error *err) {
  struct lc_row_iter *it;
  struct lc_buf projected = {0};
  uint64_t n = 0;
  int rc = plan->has_index ? lc_view_scan_point(view, plan->index_id, plan->index_key, &it, err) : lc_view_scan(view, plan->table_id, &it);
  if (rc != LC_ERRNO_OK) return lc_fail(err, rc == LC_ERRNO_TRAP ? LC_NOMEM : LC_CONFLICT, "the table of this query is gone or memory is short");
  bool go_on = true, counting = plan->kind == LC_SQL_COUNT;
  for (struct lc_slice row; go_on && (counting || n < plan->limit) && (row = lc_row_iter_next(it)).data;) {
    if (!lc_plan_matches(plan, row)) continue;
    n++;
    if (counting) continue;
    if (plan->whole_row) {
      go_on = fn(ctx, row);
      continue;
    }
    lc_buf_clear(&projected);
    for (uint32_t i = 0; i < plan->n_items; i++) {
      const uint8_t *at = lc_row_column(plan->table_type, row.data, plan->items[i]);
      lc_buf_append(&projected, at, (size_t)(lc_bsatn_skip(plan->table_type->fields[plan->items[i]].type, at) - at));
    }
    go_on = lc_buf_ok(&projected) && fn(ctx, lc_buf_slice(&projected));
  }
  lc_row_iter_close(it);
  if (counting && plan->limit > 0) fn(ctx, lc_slice(&n, sizeof n));
  bool ok = lc_buf_ok(&projected);
  lc_buf_free(&projected);
  return ok ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
}
