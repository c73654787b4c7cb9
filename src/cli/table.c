/* Text tables and the text form of SQL results (spec/04 §7.4).
 *
 * A cell is as wide as its longest line, counted in characters (UTF-8 sequences). Every cell is padded, the last one too: a line of
 * ` a | b ` is always as long as the rule `---+---` under it. SQL cells go from SATS-JSON to BSATN by the column's type and from there to
 * text, so that integers of 128 bits keep their digits. Callers: query.c, server_cmds.c, database_cmds.c.
 */
#include "cli_internal.h"
#include "describe.h"
#include <stdio.h>

enum { MAX_COLUMNS = 4096, MAX_TYPE_BYTES = 64 << 20 };

static size_t width_of(struct lc_slice s) {
  size_t best = 0, n = 0;
  for (size_t i = 0; i <= s.len; i++) {
    if (i == s.len || s.data[i] == '\n') {
      if (n > best) best = n;
      n = 0;
    } else if ((s.data[i] & 0xc0) != 0x80 && s.data[i] != '\r') {
      n++;
    }
  }
  return best;
}

/* The nth line of a cell; false when it has fewer. */
static bool line_of(struct lc_slice s, unsigned nth, struct lc_slice *line) {
  size_t start = 0;
  for (size_t i = 0; i <= s.len; i++) {
    if (i < s.len && s.data[i] != '\n') continue;
    if (nth-- == 0) {
      *line = lc_slice(s.data + start, i - start);
      return true;
    }
    start = i + 1;
  }
  *line = lc_slice(NULL, 0);
  return false;
}

static void write_row(struct lc_buf *out, unsigned n, const size_t *widths, const struct lc_slice *cells, const char *between) {
  bool more = true;
  for (unsigned line_no = 0; more; line_no++) {
    more = false;
    for (unsigned c = 0; c < n; c++) {
      struct lc_slice line, dummy;
      line_of(cells[c], line_no, &line);
      more |= line_of(cells[c], line_no + 1, &dummy);
      if (c) lc_buf_str(out, between);
      lc_buf_u8(out, ' ');
      lc_buf_slice_append(out, line);
      for (size_t w = width_of(line); w < widths[c]; w++) lc_buf_u8(out, ' ');
      lc_buf_u8(out, ' ');
    }
    lc_buf_u8(out, '\n');
  }
}

static void table(struct lc_buf *out, unsigned n, unsigned n_rows, const struct lc_slice *cells, const char *between, bool rule) {
  size_t *widths = lc_alloc_zero(n ? n : 1, sizeof *widths);
  if (!widths) lc_cli_out_of_memory();
  for (size_t i = 0; i < (size_t)n * (n_rows + 1u); i++) {
    size_t w = width_of(cells[i]);
    if (w > widths[i % n]) widths[i % n] = w;
  }
  write_row(out, n, widths, cells, between);
  for (unsigned c = 0; rule && c < n; c++) {
    if (c) lc_buf_u8(out, '+');
    for (size_t w = 0; w < widths[c] + 2; w++) lc_buf_u8(out, '-');
  }
  if (rule) lc_buf_u8(out, '\n');
  for (unsigned r = 1; r <= n_rows; r++) write_row(out, n, widths, cells + (size_t)r * n, between);
  lc_free(widths);
}

void lc_cli_table_psql(struct lc_buf *out, unsigned n, unsigned n_rows, const struct lc_slice *cells) { table(out, n, n_rows, cells, "|", true); }
void lc_cli_table_plain(struct lc_buf *out, unsigned n, unsigned n_rows, const struct lc_slice *cells) { table(out, n, n_rows, cells, "", false); }

/* ---- types from SATS-JSON (spec/01 §7.5) ---- */

static const struct lc_type *type_from_json(struct lc_arena *arena, const json_t *json, const json_t *types, unsigned depth);

static const struct lc_type_field *fields_from_json(struct lc_arena *arena, const json_t *list, const json_t *types, uint32_t *n, unsigned depth) {
  size_t count = json_array_size(list);
  if (!json_is_array(list) || count > MAX_COLUMNS) return NULL;
  struct lc_type_field *f = lc_arena_alloc_zero(arena, count ? count : 1, sizeof *f);
  if (!f) return NULL;
  for (size_t i = 0; i < count; i++) {
    const json_t *e = json_array_get(list, i), *name = json_object_get(e, "name"), *some = json_object_get(name, "some");
    const char *text = json_string_value(some ? some : name);
    if (text) {
      f[i].name = lc_arena_copy(arena, lc_slice_str(text));
      f[i].has_name = true;
    }
    f[i].type = type_from_json(arena, json_object_get(e, "algebraic_type"), types, depth + 1);
    if (!f[i].type) return NULL;
  }
  *n = (uint32_t)count;
  return f;
}

static const struct lc_type *type_from_json(struct lc_arena *arena, const json_t *json, const json_t *types, unsigned depth) {
  static const char *const names[] = {"Ref", "Sum", "Product", "Array", "String", "Bool", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "I128", "U128", "I256", "U256", "F32", "F64"};
  const json_t *payload;
  uint32_t n;
  if (depth > LC_TYPE_MAX_DEPTH || arena->total_bytes > MAX_TYPE_BYTES || !json_is_object(json)) return NULL; /* references can multiply */
  for (int kind = LC_T_STRING; kind <= LC_T_F64; kind++)
    if (json_object_get(json, names[kind])) return lc_type_primitive((enum lc_type_kind)kind);
  if ((payload = json_object_get(json, "Ref"))) return type_from_json(arena, json_array_get(types, (size_t)json_number_value(payload)), types, depth + 1);
  if ((payload = json_object_get(json, "Array"))) {
    const struct lc_type *elem = type_from_json(arena, payload, types, depth + 1);
    return elem ? lc_type_new_array(arena, elem) : NULL;
  }
  if ((payload = json_object_get(json, "Product"))) {
    const struct lc_type_field *f = fields_from_json(arena, json_object_get(payload, "elements"), types, &n, depth);
    return f ? lc_type_new_product(arena, n, f) : NULL;
  }
  if ((payload = json_object_get(json, "Sum"))) {
    const struct lc_type_field *f = fields_from_json(arena, json_object_get(payload, "variants"), types, &n, depth);
    return f ? lc_type_new_sum(arena, n, f) : NULL;
  }
  return NULL;
}

const struct lc_type *lc_cli_type_from_json(struct lc_arena *arena, const json_t *json, const json_t *types) { return type_from_json(arena, json, types, 0); }

/* ---- SQL results ---- */

/* Text of one cell. A value that does not fit its type (a float that is not a number is `null`) is shown as it came. */
static struct lc_slice cell_text(struct lc_arena *arena, struct lc_slice json, const struct lc_type *type) {
  struct lc_buf bsatn = {0}, text = {0};
  struct lc_slice result = json;
  if (lc_json_parse_value(json, type, NULL, &bsatn, NULL) == LC_OK) {
    struct lc_reader r = lc_reader(lc_buf_slice(&bsatn));
    if (lc_satn_write(&text, type, &r) == LC_OK && lc_buf_ok(&text)) result = lc_arena_copy(arena, lc_buf_slice(&text));
  }
  lc_buf_free(&bsatn);
  lc_buf_free(&text);
  return result;
}

static uint64_t number(struct lc_slice object, const char *name) {
  struct lc_slice v;
  uint64_t n = 0;
  if (!lc_cli_json_member(object, name, &v)) return 0;
  for (size_t i = 0; i < v.len && v.data[i] >= '0' && v.data[i] <= '9'; i++) n = n * 10 + (v.data[i] - (uint64_t)'0');
  return n;
}

enum lc_status lc_cli_sql_table(struct lc_buf *out, struct lc_slice statement, struct lc_cli_sql_stats *stats, struct lc_error *err) {
  struct lc_slice schema_text, rows_text, stats_text;
  struct lc_arena arena = {0};
  struct lc_buf cells = {0};
  *stats = (struct lc_cli_sql_stats){0};
  if (!lc_cli_json_member(statement, "schema", &schema_text) || !lc_cli_json_member(statement, "rows", &rows_text))
    return lc_fail(err, LC_INVALID, "the server's answer is not an SQL result");
  stats->duration_us = number(statement, "total_duration_micros");
  if (lc_cli_json_member(statement, "stats", &stats_text)) {
    stats->inserted = number(stats_text, "rows_inserted");
    stats->deleted = number(stats_text, "rows_deleted");
    stats->updated = number(stats_text, "rows_updated");
  }
  json_t *schema = json_loadb((const char *)schema_text.data, schema_text.len, 0, NULL);
  uint32_t n = 0;
  const struct lc_type_field *columns = fields_from_json(&arena, json_object_get(schema, "elements"), NULL, &n, 0);
  json_decref(schema);
  enum lc_status st = columns ? LC_OK : lc_fail(err, LC_INVALID, "the server's answer has a schema that cannot be read");
  if (st == LC_OK && n == 0) {
    lc_buf_u8(out, '\n');
    lc_arena_free(&arena);
    return LC_OK;
  }
  for (uint32_t c = 0; c < n; c++) {
    struct lc_slice name = columns[c].name;
    if (!columns[c].has_name) { /* expressions have no name */
      char text[32];
      int len = snprintf(text, sizeof text, "column %u", c);
      name = lc_arena_copy(&arena, lc_slice(text, (size_t)len));
    }
    lc_buf_append(&cells, &name, sizeof name);
  }
  struct lc_cli_json rows, row;
  struct lc_slice row_text, value;
  if (st == LC_OK && !lc_cli_json_enter(rows_text, '[', &rows)) st = lc_fail(err, LC_INVALID, "the server's answer has no rows array");
  while (st == LC_OK && lc_cli_json_item(&rows, &row_text)) {
    uint32_t c = 0;
    if (lc_cli_json_enter(row_text, '[', &row))
      for (; lc_cli_json_item(&row, &value) && c < n; c++) {
        struct lc_slice text = cell_text(&arena, value, columns[c].type);
        lc_buf_append(&cells, &text, sizeof text);
      }
    if (c != n) st = lc_fail(err, LC_INVALID, "a row of the server's answer has %u columns of %u", c, n);
    stats->rows++;
  }
  if (st == LC_OK && !lc_buf_ok(&cells)) st = lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) lc_cli_table_psql(out, n, (unsigned)stats->rows, (const struct lc_slice *)(const void *)cells.data);
  lc_buf_free(&cells);
  lc_arena_free(&arena);
  return st;
}
