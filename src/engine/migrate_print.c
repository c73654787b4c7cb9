/* Owns: a migration plan as text for people (spec/06 §15.5). Pure. Callers: the face. */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

enum colour { RED = 1, GREEN, YELLOW, BLUE, MAGENTA, CYAN };
struct painter { struct lc_buf *out; bool ansi; };
static const char *const bar = "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━";

static void paint(struct painter *p, enum colour c, bool bold, struct lc_slice text) {
  if (p->ansi) lc_buf_printf(p->out, "\x1b[0m%s\x1b[3%dm", bold ? "\x1b[1m" : "", (int)c);
  lc_buf_slice_append(p->out, text);
  if (p->ansi) lc_buf_str(p->out, "\x1b[0m");
}
static void paint_str(struct painter *p, enum colour c, bool bold, const char *text) { paint(p, c, bold, lc_slice_str(text)); }
static void name(struct painter *p, struct lc_slice text) { paint(p, CYAN, true, text); }
static void plain(struct painter *p, const char *text) { lc_buf_str(p->out, text); }
static void type(struct painter *p, const struct lc_type *t) {
  struct lc_buf b = {0};
  lc_type_display(&b, t);
  paint(p, MAGENTA, false, lc_buf_slice(&b));
  if (!lc_buf_ok(&b)) p->out->failed = true;
  lc_buf_free(&b);
}
static void columns(struct painter *p, const struct lc_column_def *cols, uint32_t n, const uint16_t *which) {
  plain(p, "[");
  for (uint32_t i = 0; i < n; i++) {
    if (i) plain(p, ", ");
    name(p, cols[which[i]].name);
  }
  plain(p, "]");
}
enum action { CREATED, REMOVED, CHANGED };
static void title(struct painter *p, enum action a, const char *what) {
  static const struct { const char *word; enum colour colour; } words[] = {{"Created", GREEN}, {"Removed", RED}, {"Changed", YELLOW}};
  plain(p, "▸ ");
  paint_str(p, words[a].colour, true, words[a].word);
  plain(p, what);
}
static void section(struct painter *p, const char *text) {
  plain(p, "    ");
  paint_str(p, BLUE, true, text);
  plain(p, "\n");
}
static void bullet(struct painter *p) { plain(p, "        • "); }

/* ---- default values: the reference's pretty form of a value ---- */

static void indent(struct painter *p, int depth) {
  while (depth-- > 0) plain(p, "    ");
}
static void value(struct painter *p, const struct lc_type *t, struct lc_reader *r, int depth) {
  static const char *const names[] = {"", "", "", "", "String", "Bool", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "I128", "U128", "I256", "U256", "F32", "F64"};
  if (t->kind >= LC_T_STRING) {
    lc_buf_printf(p->out, "%s(\n", names[t->kind]);
    indent(p, depth + 1);
    lc_satn_write(p->out, t, r);
    plain(p, ",\n");
    indent(p, depth);
    plain(p, ")");
    return;
  }
  lc_satn_write(p->out, t, r);
}

/* ---- steps ---- */

static int by_name(const void *a, const void *b) { /* of structs that begin with their name */
  struct lc_slice none = {0};
  return compare_names(none, **(const struct lc_slice *const *)a, none, **(const struct lc_slice *const *)b);
}
/* Pointers to n items, which begin with their names, in order of these; NULL: out of memory. */
static const void **sorted(struct painter *p, const void *items, uint32_t n, size_t size) {
  const void **order = lc_alloc_zero(n, sizeof *order);
  if (!order) p->out->failed = true;
  for (uint32_t i = 0; order && i < n; i++) order[i] = (const char *)items + i * size;
  if (order && n > 1) qsort(order, n, sizeof *order, by_name);
  return order;
}
_Static_assert(offsetof(struct lc_index_def, name) == 0 && offsetof(struct lc_constraint_def, name) == 0 && offsetof(struct lc_sequence_def, name) == 0, "by_name");

static void column_list(struct painter *p, uint32_t n, const struct lc_column_def *cols) {
  if (n) section(p, "Columns:");
  for (uint32_t i = 0; i < n; i++) {
    bullet(p);
    name(p, cols[i].name);
    plain(p, ": ");
    type(p, cols[i].type);
    plain(p, "\n");
  }
}

static void created_table(struct painter *p, const struct lc_table_def *t) {
  const void **list;
  title(p, CREATED, t->is_system ? " system table: " : " user table: ");
  name(p, t->name);
  plain(p, " (");
  paint_str(p, GREEN, false, t->is_public ? "public" : "private");
  plain(p, ")\n");
  column_list(p, t->n_columns, t->columns);
  if (t->n_constraints && (list = sorted(p, t->constraints, t->n_constraints, sizeof *t->constraints))) {
    section(p, "Unique constraints:");
    for (uint32_t i = 0; i < t->n_constraints; i++) {
      const struct lc_constraint_def *c = list[i];
      bullet(p);
      name(p, c->name);
      plain(p, " on ");
      columns(p, t->columns, c->n_columns, c->columns);
      plain(p, "\n");
    }
    lc_free(list);
  }
  if (t->n_indexes && (list = sorted(p, t->indexes, t->n_indexes, sizeof *t->indexes))) {
    section(p, "Indexes:");
    for (uint32_t i = 0; i < t->n_indexes; i++) {
      const struct lc_index_def *x = list[i];
      bullet(p);
      name(p, x->name);
      plain(p, " on ");
      columns(p, t->columns, x->n_columns, x->columns);
      plain(p, "\n");
    }
    lc_free(list);
  }
  if (t->n_sequences && (list = sorted(p, t->sequences, t->n_sequences, sizeof *t->sequences))) {
    section(p, "Auto-increment constraints:");
    for (uint32_t i = 0; i < t->n_sequences; i++) {
      const struct lc_sequence_def *q = list[i];
      bullet(p);
      name(p, q->name);
      plain(p, " on ");
      name(p, t->columns[q->column].name);
      plain(p, "\n");
    }
    lc_free(list);
  }
  if (t->has_schedule) {
    section(p, "Schedule:");
    bullet(p);
    plain(p, t->schedule_is_procedure ? "Calls procedure: " : "Calls reducer: ");
    name(p, t->schedule_function);
    plain(p, "\n");
  }
  plain(p, "\n");
}

static void view(struct painter *p, enum action a, const struct lc_view_def *v) {
  plain(p, "▸ ");
  title(p, a, v->is_anonymous ? " anonymous view: " : " view: ");
  name(p, v->name);
  plain(p, "\n");
  if (a == CREATED && v->canonical_params->n_fields) {
    section(p, "Parameters:");
    for (uint32_t i = 0; i < v->canonical_params->n_fields; i++) {
      bullet(p);
      name(p, v->canonical_params->fields[i].name);
      plain(p, ": ");
      type(p, v->canonical_params->fields[i].type);
      plain(p, "\n");
    }
  }
  if (a == CREATED) column_list(p, v->n_columns, v->columns);
  plain(p, "\n");
}

static void of_table(struct painter *p, struct lc_slice table) {
  plain(p, " of table ");
  name(p, table);
  plain(p, "\n");
}

static const struct lc_type *declared(const struct lc_table_def *t, uint32_t column) {
  const struct lc_type *row = t->typespace && t->type_ref < t->typespace->n ? t->typespace->types[t->type_ref] : NULL;
  return row && row->kind == LC_T_PRODUCT && column < row->n_fields ? row->fields[column].type : t->columns[column].type;
}

static void changed_columns(struct painter *p, const struct lc_migration_step *s) {
  title(p, CHANGED, " columns for table ");
  name(p, s->new_table->name);
  plain(p, "\n");
  for (uint32_t i = 0; i < s->old_table->n_columns && i < s->new_table->n_columns; i++) { /* as declared, references not followed */
    if (lc_type_eq(declared(s->old_table, i), declared(s->new_table, i))) continue;
    plain(p, "    ~ ");
    paint_str(p, YELLOW, false, "Modified");
    plain(p, ": ");
    name(p, s->new_table->columns[i].name);
    plain(p, " (");
    type(p, s->old_table->columns[i].type);
    plain(p, " → ");
    type(p, s->new_table->columns[i].type);
    plain(p, ")\n");
  }
}

static void added_columns(struct painter *p, const struct lc_migration_step *s) {
  uint32_t n_old = s->old_table->n_columns, n = s->new_table->n_columns;
  title(p, CREATED, n - n_old > 1 ? " columns in table " : " column in table ");
  name(p, s->new_table->name);
  plain(p, "\n");
  for (uint32_t i = n_old; i < n; i++) {
    const struct lc_column_def *c = &s->new_table->columns[i];
    struct lc_reader r = lc_reader(c->default_bsatn);
    plain(p, "    + ");
    name(p, c->name);
    plain(p, ": ");
    type(p, c->type);
    if (c->has_default) {
      plain(p, " (default: ");
      value(p, c->type, &r, 0);
      plain(p, ")");
    }
    plain(p, "\n");
  }
}

static void index_step(struct painter *p, enum action a, const struct lc_table_def *t, const struct lc_index_def *x) {
  title(p, a, " index ");
  name(p, x->name);
  plain(p, " on ");
  columns(p, t->columns, x->n_columns, x->columns);
  of_table(p, t->name);
}

static void print_step(struct painter *p, const struct lc_migration_plan *plan, const struct lc_migration_step *s) {
  const struct lc_table_def *old = s->old_table, *new = s->new_table;
  bool removed = s->kind < LC_STEP_CHANGE_COLUMNS;
  switch (s->kind) {
  case LC_STEP_REMOVE_INDEX: index_step(p, REMOVED, old, &old->indexes[s->item]); break;
  case LC_STEP_ADD_INDEX: index_step(p, CREATED, new, &new->indexes[s->item]); break;
  case LC_STEP_CHANGE_INDEX_SOURCE_NAME: index_step(p, CHANGED, new, &new->indexes[s->item]); break;
  case LC_STEP_REMOVE_CONSTRAINT: case LC_STEP_ADD_CONSTRAINT: {
    const struct lc_table_def *t = removed ? old : new;
    title(p, removed ? REMOVED : CREATED, " unique constraint ");
    name(p, s->name);
    plain(p, " on ");
    columns(p, t->columns, t->constraints[s->item].n_columns, t->constraints[s->item].columns);
    of_table(p, t->name);
    break;
  }
  case LC_STEP_REMOVE_SEQUENCE: case LC_STEP_ADD_SEQUENCE: {
    const struct lc_table_def *t = removed ? old : new;
    title(p, removed ? REMOVED : CREATED, " auto-increment constraint ");
    name(p, s->name);
    plain(p, " on column ");
    name(p, t->columns[t->sequences[s->item].column].name);
    of_table(p, t->name);
    break;
  }
  case LC_STEP_REMOVE_SCHEDULE: case LC_STEP_ADD_SCHEDULE: {
    const struct lc_table_def *t = removed ? old : new;
    title(p, removed ? REMOVED : CREATED, " schedule for table ");
    name(p, t->name);
    plain(p, t->schedule_is_procedure ? " calling procedure " : " calling reducer ");
    name(p, t->schedule_function);
    plain(p, "\n");
    break;
  }
  case LC_STEP_REMOVE_TABLE:
    title(p, REMOVED, " table: ");
    name(p, old->name);
    plain(p, "\n\n");
    break;
  case LC_STEP_ADD_TABLE: created_table(p, new); break;
  case LC_STEP_REMOVE_VIEW: view(p, REMOVED, s->old_view); break;
  case LC_STEP_ADD_VIEW: view(p, CREATED, s->new_view); break;
  case LC_STEP_REMOVE_RLS: case LC_STEP_ADD_RLS: {
    const struct lc_module_def *other = removed ? plan->new : plan->old;
    for (uint32_t i = 0; i < other->n_rls; i++)
      if (lc_slice_eq(other->rls_sql[i], s->name)) return; /* in both versions */
    title(p, removed ? REMOVED : CREATED, " row level security policy:\n    ");
    plain(p, "`");
    paint(p, BLUE, false, s->name);
    plain(p, "`\n");
    break;
  }
  case LC_STEP_CHANGE_COLUMNS: changed_columns(p, s); break;
  case LC_STEP_ADD_COLUMNS: added_columns(p, s); break;
  case LC_STEP_RESCHEMA_EVENT_TABLE:
    title(p, CHANGED, " schema of event table ");
    name(p, new->name);
    plain(p, "\n");
    break;
  case LC_STEP_CHANGE_TABLE_ACCESSOR:
    title(p, CHANGED, " table accessor name for ");
    name(p, s->name);
    plain(p, "\n");
    break;
  case LC_STEP_CHANGE_COLUMN_ACCESSOR:
    title(p, CHANGED, " column accessor name for ");
    name(p, new->name);
    plain(p, ".");
    name(p, new->columns[s->item].name);
    plain(p, "\n");
    break;
  case LC_STEP_CHANGE_ACCESS: {
    bool was = old ? old->is_public : s->old_view->is_public;
    title(p, CHANGED, " access for table ");
    name(p, s->name);
    plain(p, " (");
    paint_str(p, GREEN, false, was ? "public" : "private");
    plain(p, " → ");
    paint_str(p, GREEN, false, was ? "private" : "public");
    plain(p, ")\n");
    break;
  }
  case LC_STEP_CHANGE_PRIMARY_KEY:
    title(p, CHANGED, " primary key on table ");
    name(p, new->name);
    if (new->primary_key < 0) plain(p, " (removed)\n");
    else lc_buf_printf(p->out, old->primary_key < 0 ? " (added on column %d)\n" : " (changed to column %d)\n", new->primary_key);
    break;
  case LC_STEP_DISCONNECT_ALL_USERS:
    if (p->ansi) plain(p, "\x1b[0m\x1b[41m");
    plain(p, "!!! Warning: All clients will be disconnected due to breaking schema changes");
    if (p->ansi) plain(p, "\x1b[0m");
    plain(p, "\n");
    break;
  case LC_STEP_CHANGE_OUTBOX: case LC_STEP_UPDATE_VIEW: break;
  }
}

enum lc_status lc_migration_plan_print(const struct lc_migration_plan *plan, enum lc_plan_style style, struct lc_buf *out) {
  struct painter p = {out, style == LC_PLAN_ANSI_COLOR};
  paint_str(&p, BLUE, true, bar);
  plain(&p, "\n");
  paint_str(&p, BLUE, true, "Database Migration Plan");
  plain(&p, "\n");
  paint_str(&p, BLUE, true, bar);
  plain(&p, "\n\n");
  for (uint32_t i = 0; i < plan->n_steps; i++) print_step(&p, plan, &plan->steps[i]);
  return lc_buf_ok(out) ? LC_OK : LC_NOMEM;
}
