/* Module definitions from a few words of text, for tests of the engine. A line each:
 *
 *   table NAME [as ACCESSOR] [private] [event]       then, belonging to it:
 *     col NAME TYPE [as ACCESSOR] [pk] [auto] [unique] [index] [= HEX]     pk: primary key, unique constraint and index; = default, BSATN
 *     index NAME btree|hash|direct COLUMN,... [as ACCESSOR]
 *     unique NAME COLUMN,...
 *     seq NAME COLUMN
 *     schedule NAME FUNCTION COLUMN
 *     outbox REDUCER TARGET_COLUMN COLUMN,...
 *   view NAME [as ACCESSOR] [private] [sender]       then col, pk, and
 *     param NAME TYPE
 *   rls SQL
 *
 * TYPE: u8 ... i256, f32, f64, bool, string, identity, timestamp, at (ScheduleAt), [T], ?T, (name:T,...), {Variant,Variant:T,...}; no blanks. */
#ifndef LC_DEF_TEXT_H
#define LC_DEF_TEXT_H
#include "types/types.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEF_MAX = 64 };
struct def_text { struct lc_module_def *def; const char *at; };

static struct lc_slice def_copy(struct def_text *d, const char *s) { return lc_arena_copy(&d->def->arena, lc_slice(s, strlen(s))); }
static struct lc_slice def_join(struct def_text *d, struct lc_slice a, const char *b) {
  char text[256];
  int n = snprintf(text, sizeof text, "%.*s%s", (int)a.len, (const char *)a.data, b);
  return lc_arena_copy(&d->def->arena, lc_slice(text, (size_t)n));
}

static const struct lc_type *def_type(struct def_text *d, const char **at);
static const struct lc_type *def_fields(struct def_text *d, const char **at, bool sum) {
  struct lc_type_field f[32] = {{.has_name = false}};
  uint32_t n = 0;
  const struct lc_type *unit = lc_type_new_product(&d->def->arena, 0, f);
  for ((*at)++; **at && **at != (sum ? '}' : ')'); n++) {
    const char *start = *at;
    while (isalnum((unsigned char)**at) || **at == '_') (*at)++;
    f[n].name = lc_arena_copy(&d->def->arena, lc_slice(start, (size_t)(*at - start)));
    f[n].has_name = true;
    f[n].type = unit;
    if (**at == ':') {
      (*at)++;
      f[n].type = def_type(d, at);
    }
    if (**at == ',') (*at)++;
  }
  (*at)++;
  return sum ? lc_type_new_sum(&d->def->arena, n, f) : lc_type_new_product(&d->def->arena, n, f);
}
static const struct lc_type *def_type(struct def_text *d, const char **at) {
  static const struct { const char *name; enum lc_type_kind kind; } simple[] = {
      {"u8", LC_T_U8},     {"u16", LC_T_U16},   {"u32", LC_T_U32},   {"u64", LC_T_U64},   {"u128", LC_T_U128}, {"u256", LC_T_U256}, {"i8", LC_T_I8},   {"i16", LC_T_I16}, {"i32", LC_T_I32},
      {"i64", LC_T_I64},   {"i128", LC_T_I128}, {"i256", LC_T_I256}, {"bool", LC_T_BOOL}, {"string", LC_T_STRING}, {"f32", LC_T_F32}, {"f64", LC_T_F64}};
  struct lc_arena *a = &d->def->arena;
  if (**at == '[') {
    (*at)++;
    const struct lc_type *elem = def_type(d, at);
    (*at)++;
    return lc_type_new_array(a, elem);
  }
  if (**at == '?') {
    (*at)++;
    return lc_type_new_option(a, def_type(d, at));
  }
  if (**at == '(') return def_fields(d, at, false);
  if (**at == '{') return def_fields(d, at, true);
  size_t n = strspn(*at, "abcdefghijklmnopqrstuvwxyz0123456789");
  const char *word = *at;
  *at += n;
  for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
    if (strlen(simple[i].name) == n && memcmp(simple[i].name, word, n) == 0) return lc_type_primitive(simple[i].kind);
  if (n == 8 && memcmp(word, "identity", 8) == 0) return lc_type_identity();
  if (n == 9 && memcmp(word, "timestamp", 9) == 0) return lc_type_timestamp();
  const char *schedule_at = "{Interval:(__time_duration_micros__:i64),Time:(__timestamp_micros_since_unix_epoch__:i64)}";
  if (n == 2 && memcmp(word, "at", 2) == 0) return def_type(d, &schedule_at);
  fprintf(stderr, "definition: no type at '%s'\n", word);
  abort();
}

/* Columns "a,b" of a table by name. */
static uint16_t *def_columns(struct def_text *d, const struct lc_column_def *cols, uint32_t n_cols, char *list, uint32_t *n) {
  uint16_t *out = lc_arena_alloc(&d->def->arena, 16 * sizeof *out);
  *n = 0;
  for (char *save, *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
    uint16_t found = UINT16_MAX;
    for (uint32_t i = 0; i < n_cols; i++)
      if (lc_slice_eq_str(cols[i].name, w)) found = (uint16_t)i;
    if (found == UINT16_MAX) fprintf(stderr, "definition: no column %s\n", w), abort();
    out[(*n)++] = found;
  }
  return out;
}

__attribute__((unused)) static struct lc_module_def *def_text(const char *text) {
  struct lc_module_def *def = lc_alloc_zero(1, sizeof *def);
  struct def_text d = {def, text};
  struct lc_arena *a = &def->arena;
  struct lc_table_def *tables = lc_arena_alloc_zero(a, DEF_MAX, sizeof *tables), *t = NULL;
  struct lc_view_def *views = lc_arena_alloc_zero(a, DEF_MAX, sizeof *views), *v = NULL;
  struct lc_slice *rls = lc_arena_alloc_zero(a, DEF_MAX, sizeof *rls);
  struct lc_outbox_def *outboxes = lc_arena_alloc_zero(a, DEF_MAX, sizeof *outboxes);
  const struct lc_type **types = lc_arena_alloc_zero(a, 2 * DEF_MAX, sizeof *types);
  struct lc_column_def *cols = NULL;
  struct lc_index_def *indexes = NULL;
  struct lc_constraint_def *constraints = NULL;
  struct lc_sequence_def *sequences = NULL;
  struct lc_type_field *params = NULL;
  uint32_t n_cols = 0, n_params = 0;
  char *copy = lc_strdup_n(text, strlen(text)), *lines;
  def->raw_version = 10;
  for (char *line = strtok_r(copy, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
    char *w[32], *save, whole[1024];
    uint32_t n = 0;
    while (*line == ' ') line++;
    snprintf(whole, sizeof whole, "%s", line);
    for (char *x = strtok_r(line, " ", &save); x && n < 32; x = strtok_r(NULL, " ", &save)) w[n++] = x;
    if (n == 0) continue;
#define FLAG(i, name) (strcmp(w[i], name) == 0)
    if (FLAG(0, "table") || FLAG(0, "view")) {
      bool is_view = FLAG(0, "view");
      cols = lc_arena_alloc_zero(a, 32, sizeof *cols);
      n_cols = n_params = 0;
      t = NULL;
      v = NULL;
      struct lc_slice name = def_copy(&d, w[1]), accessor = name;
      bool is_public = true, is_event = false, sender = false;
      for (uint32_t i = 2; i < n; i++) {
        if (FLAG(i, "as")) accessor = def_copy(&d, w[++i]);
        else if (FLAG(i, "private")) is_public = false;
        else if (FLAG(i, "event")) is_event = true;
        else if (FLAG(i, "sender")) sender = true;
      }
      if (is_view) {
        params = lc_arena_alloc_zero(a, 8, sizeof *params);
        v = &views[def->n_views++];
        *v = (struct lc_view_def){.name = name, .accessor = accessor, .is_public = is_public, .is_anonymous = !sender, .primary_key = -1, .columns = cols, .typespace = &def->typespace};
      } else {
        indexes = lc_arena_alloc_zero(a, 32, sizeof *indexes);
        constraints = lc_arena_alloc_zero(a, 32, sizeof *constraints);
        sequences = lc_arena_alloc_zero(a, 32, sizeof *sequences);
        t = &tables[def->n_tables++];
        *t = (struct lc_table_def){.name = name, .accessor = accessor, .is_public = is_public, .is_event = is_event, .primary_key = -1, .columns = cols,
                                   .indexes = indexes, .constraints = constraints, .sequences = sequences, .typespace = &def->typespace};
      }
    } else if (FLAG(0, "col")) {
      struct lc_column_def *c = &cols[n_cols];
      const char *type = w[2];
      c->name = c->accessor = def_copy(&d, w[1]);
      c->type = def_type(&d, &type);
      uint16_t *one = lc_arena_alloc(a, sizeof *one);
      *one = (uint16_t)n_cols++;
      for (uint32_t i = 3; i < n; i++) {
        bool pk = FLAG(i, "pk");
        if (FLAG(i, "as")) c->accessor = def_copy(&d, w[++i]);
        if (FLAG(i, "=")) {
          uint8_t *bytes = lc_arena_alloc(a, strlen(w[++i]) / 2 + 1);
          if (!lc_hex_decode(w[i], strlen(w[i]), bytes)) abort();
          c->has_default = true;
          c->default_bsatn = lc_slice(bytes, strlen(w[i]) / 2);
        }
        if (pk && v) v->primary_key = *one;
        if (!t) continue;
        struct lc_slice prefix = def_join(&d, def_join(&d, t->name, "_"), w[1]);
        if (pk) t->primary_key = *one;
        if (pk || FLAG(i, "unique") || FLAG(i, "index")) {
          struct lc_slice index_name = def_join(&d, prefix, "_idx_btree");
          indexes[t->n_indexes++] = (struct lc_index_def){.name = index_name, .source_name = index_name, .kind = LC_INDEX_BTREE, .n_columns = 1, .columns = one};
        }
        if (pk || FLAG(i, "unique")) constraints[t->n_constraints++] = (struct lc_constraint_def){def_join(&d, prefix, "_key"), 1, one};
        if (FLAG(i, "auto")) sequences[t->n_sequences++] = (struct lc_sequence_def){def_join(&d, prefix, "_seq"), *one};
      }
    } else if (FLAG(0, "index")) {
      struct lc_index_def *x = &indexes[t->n_indexes++];
      x->name = x->source_name = def_copy(&d, w[1]);
      x->kind = FLAG(2, "hash") ? LC_INDEX_HASH : FLAG(2, "direct") ? LC_INDEX_DIRECT : LC_INDEX_BTREE;
      x->columns = def_columns(&d, cols, n_cols, w[3], &x->n_columns);
      if (n > 5 && FLAG(4, "as")) x->source_name = def_copy(&d, w[5]);
    } else if (FLAG(0, "unique")) {
      struct lc_constraint_def *c = &constraints[t->n_constraints++];
      c->name = def_copy(&d, w[1]);
      c->columns = def_columns(&d, cols, n_cols, w[2], &c->n_columns);
    } else if (FLAG(0, "seq")) {
      uint32_t one;
      uint16_t *c = def_columns(&d, cols, n_cols, w[2], &one);
      sequences[t->n_sequences++] = (struct lc_sequence_def){def_copy(&d, w[1]), *c};
    } else if (FLAG(0, "schedule")) {
      uint32_t one;
      t->has_schedule = true;
      t->schedule_name = def_copy(&d, w[1]);
      t->schedule_function = def_copy(&d, w[2]);
      t->schedule_at_column = *def_columns(&d, cols, n_cols, w[3], &one);
    } else if (FLAG(0, "outbox")) {
      uint32_t one;
      struct lc_outbox_def *o = &outboxes[def->n_outboxes++];
      *o = (struct lc_outbox_def){.table = t->name, .table_index = def->n_tables - 1, .remote_reducer = def_copy(&d, w[1]), .on_result = -1};
      o->target_column = *def_columns(&d, cols, n_cols, w[2], &one);
      o->arg_columns = def_columns(&d, cols, n_cols, w[3], &o->n_args);
    } else if (FLAG(0, "param")) {
      const char *type = w[2];
      params[n_params++] = (struct lc_type_field){def_copy(&d, w[1]), true, def_type(&d, &type)};
    } else if (FLAG(0, "rls")) {
      rls[def->n_rls++] = def_copy(&d, whole + 4);
    } else {
      fprintf(stderr, "definition: what is '%s'?\n", w[0]);
      abort();
    }
#undef FLAG
    if (t) t->n_columns = n_cols;
    if (v) v->n_columns = n_cols;
    struct lc_type_field f[32] = {{.has_name = false}};
    for (uint32_t i = 0; i < n_cols; i++) f[i] = (struct lc_type_field){cols[i].name, true, cols[i].type};
    const struct lc_type *row = lc_type_new_product(a, n_cols, f);
    if (t) {
      t->row_type = row;
      t->type_ref = def->n_tables - 1;
      types[t->type_ref] = row;
    }
    if (v) {
      v->row_type = row;
      v->params = v->canonical_params = lc_type_new_product(a, n_params, params);
    }
  }
  lc_free(copy);
  def->tables = tables;
  def->views = views;
  def->rls_sql = rls;
  def->outboxes = outboxes;
  def->typespace = (struct lc_typespace){def->n_tables, types};
  return def;
}

#endif
