/* Owns: migration plans: what must be done to get from one module definition to another, or why that cannot be done automatically (spec/06
 * §15.1-§15.3, spec/07 §10). Pure: compares definitions, touches no datastore. Callers: the face. */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

struct planner { struct lc_migration_plan *plan; uint32_t cap_errors, cap_steps; bool failed; };
#define S(slice) (int)(slice).len, (const char *)(slice).data

/* ---- lists ---- */

static void *room(struct planner *p, void *list, uint32_t n, uint32_t *cap, size_t size) { /* the list with room for one more; NULL: out of memory */
  if (n < *cap) return list;
  uint32_t more = *cap ? *cap * 2 : 16;
  void *grown = lc_arena_alloc(&p->plan->arena, more * size);
  if (!grown) {
    p->failed = true;
    return NULL;
  }
  if (n) memcpy(grown, list, n * size);
  *cap = more;
  return grown;
}

static LC_PRINTF(2, 3) void fault(struct planner *p, const char *fmt, ...) {
  struct lc_slice *list = room(p, p->plan->errors, p->plan->n_errors, &p->cap_errors, sizeof *list);
  struct lc_buf b = {0};
  va_list args;
  char text[4096];
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  lc_buf_str(&b, text);
  if (list) {
    p->plan->errors = list;
    list[p->plan->n_errors] = lc_buf_ok(&b) ? lc_arena_copy(&p->plan->arena, lc_buf_slice(&b)) : lc_slice(NULL, 0);
    if (list[p->plan->n_errors].data) p->plan->n_errors++;
    else p->failed = true;
  }
  lc_buf_free(&b);
}

static struct lc_migration_step *step(struct planner *p, enum lc_migration_kind kind, struct lc_slice mount, struct lc_slice name) {
  static struct lc_migration_step nowhere;
  struct lc_migration_step *list = room(p, p->plan->steps, p->plan->n_steps, &p->cap_steps, sizeof *list);
  if (!list) return &nowhere;
  p->plan->steps = list;
  list[p->plan->n_steps] = (struct lc_migration_step){.kind = kind, .mount = mount, .name = name};
  return &list[p->plan->n_steps++];
}
static void table_step(struct planner *p, enum lc_migration_kind kind, const struct lc_table_def *old, const struct lc_table_def *new, struct lc_slice name, uint32_t item) {
  const struct lc_table_def *t = new ? new : old;
  struct lc_migration_step *s = step(p, kind, t->mount, name);
  if (p->failed) return;
  s->old_table = old;
  s->new_table = new;
  s->item = item;
}

/* ---- columns ---- */

struct column_fault { struct planner *p; struct lc_slice column, table; };
static void type_fault(void *ctx, bool nested, const struct lc_type *from, const struct lc_type *to, const char *what) {
  struct column_fault *f = ctx;
  struct lc_buf a = {0}, b = {0};
  lc_type_display(&a, from);
  lc_type_display(&b, to);
  fault(f->p, "Changing %s column %.*s in table %.*s from %.*s to %.*s%s", nested ? "a type within" : "the type of", S(f->column), S(f->table), (int)a.len, (const char *)a.data, (int)b.len,
        (const char *)b.data, what);
  lc_buf_free(&a);
  lc_buf_free(&b);
}

static int32_t column_by_name(const struct lc_table_def *t, struct lc_slice name) {
  for (uint32_t i = 0; i < t->n_columns; i++)
    if (lc_slice_eq(t->columns[i].name, name)) return (int32_t)i;
  return -1;
}

static void plan_columns(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  bool changed = false, added = false, event_changed = old->n_columns != new->n_columns;
  for (uint32_t i = 0; old->is_event && !event_changed && i < old->n_columns; i++)
    event_changed = !lc_slice_eq(old->columns[i].name, new->columns[i].name) || !lc_type_eq(old->columns[i].type, new->columns[i].type);
  if (old->is_event && event_changed) {
    table_step(p, LC_STEP_RESCHEMA_EVENT_TABLE, old, new, new->name, 0);
    p->plan->breaks_clients = true;
    return; /* accessors go with the columns */
  }
  for (uint32_t i = 0; i < old->n_columns; i++) {
    int32_t at = column_by_name(new, old->columns[i].name);
    struct column_fault f = {p, old->columns[i].name, old->name};
    struct type_change change = {type_fault, &f};
    if (at < 0) {
      fault(p, "Removing a column %.*s from table %.*s requires a manual migration", S(old->columns[i].name), S(old->name));
      continue;
    }
    if ((uint32_t)at != i) fault(p, "Reordering table %.*s requires a manual migration", S(old->name));
    if (type_change_check(&change, old->columns[i].type, new->columns[at].type, false)) changed = true;
    if (!lc_slice_eq(old->columns[i].accessor, new->columns[at].accessor)) table_step(p, LC_STEP_CHANGE_COLUMN_ACCESSOR, old, new, new->name, (uint32_t)at);
  }
  for (uint32_t i = 0; i < new->n_columns; i++) {
    if (column_by_name(old, new->columns[i].name) >= 0) continue;
    if (!new->columns[i].has_default) fault(p, "Adding a column %.*s to table %.*s requires a default value annotation", S(new->columns[i].name), S(new->name));
    added = true;
  }
  if (added) {
    table_step(p, LC_STEP_ADD_COLUMNS, old, new, new->name, 0);
    p->plan->breaks_clients = true;
  } else if (changed) {
    table_step(p, LC_STEP_CHANGE_COLUMNS, old, new, new->name, 0);
  }
}

/* ---- indexes, constraints, sequences, schedules, outboxes ---- */

static bool same_columns(uint32_t n, const uint16_t *a, uint32_t m, const uint16_t *b) { return n == m && memcmp(a, b, n * sizeof *a) == 0; }

static void plan_indexes(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  for (uint32_t i = 0; i < old->n_indexes; i++) {
    const struct lc_index_def *x = &old->indexes[i], *y = NULL;
    uint32_t at = 0;
    for (; at < new->n_indexes && !y; at++)
      if (lc_slice_eq(new->indexes[at].name, x->name)) y = &new->indexes[at];
    if (!y) {
      table_step(p, LC_STEP_REMOVE_INDEX, old, new, x->name, i);
      continue;
    }
    if (p->plan->new->raw_version == 9 && p->plan->old->raw_version == 9 && !lc_slice_eq(x->accessor, y->accessor)) {
      struct lc_buf a = {0}, b = {0};
      const struct lc_index_def *both[2] = {x, y};
      struct lc_buf *texts[2] = {&a, &b};
      for (int k = 0; k < 2; k++) {
        if (both[k]->accessor.len) lc_buf_printf(texts[k], "Some(\"%.*s\")", S(both[k]->accessor));
        else lc_buf_str(texts[k], "None");
      }
      fault(p, "Changing the accessor name on index %.*s from %.*s to %.*s requires a manual migration", S(x->name), (int)a.len, (const char *)a.data, (int)b.len, (const char *)b.data);
      lc_buf_free(&a);
      lc_buf_free(&b);
      continue;
    }
    if (x->kind != y->kind || !same_columns(x->n_columns, x->columns, y->n_columns, y->columns)) {
      table_step(p, LC_STEP_REMOVE_INDEX, old, new, x->name, i);
      table_step(p, LC_STEP_ADD_INDEX, old, new, x->name, at - 1);
    } else if (!lc_slice_eq(x->source_name, y->source_name)) {
      table_step(p, LC_STEP_CHANGE_INDEX_SOURCE_NAME, old, new, x->name, at - 1);
    }
  }
  for (uint32_t i = 0; i < new->n_indexes; i++) {
    bool known = false;
    for (uint32_t k = 0; k < old->n_indexes; k++) known = known || lc_slice_eq(old->indexes[k].name, new->indexes[i].name);
    if (!known) table_step(p, LC_STEP_ADD_INDEX, old, new, new->indexes[i].name, i);
  }
}

static void plan_constraints(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  for (uint32_t i = 0; i < old->n_constraints; i++) {
    const struct lc_constraint_def *x = &old->constraints[i], *y = NULL;
    for (uint32_t k = 0; k < new->n_constraints && !y; k++)
      if (lc_slice_eq(new->constraints[k].name, x->name)) y = &new->constraints[k];
    if (!y) table_step(p, LC_STEP_REMOVE_CONSTRAINT, old, new, x->name, i);
    else if (!same_columns(x->n_columns, x->columns, y->n_columns, y->columns)) fault(p, "Changing a unique constraint %.*s requires a manual migration", S(x->name));
  }
  for (uint32_t i = 0; i < new->n_constraints; i++) {
    bool known = false;
    for (uint32_t k = 0; k < old->n_constraints; k++) known = known || lc_slice_eq(old->constraints[k].name, new->constraints[i].name);
    if (!known) table_step(p, LC_STEP_ADD_CONSTRAINT, old, new, new->constraints[i].name, i);
  }
}

static void plan_sequences(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  for (uint32_t i = 0; i < old->n_sequences; i++) {
    const struct lc_sequence_def *x = &old->sequences[i];
    bool same = false;
    for (uint32_t k = 0; k < new->n_sequences; k++) same = same || (lc_slice_eq(new->sequences[k].name, x->name) && new->sequences[k].column == x->column);
    if (!same) table_step(p, LC_STEP_REMOVE_SEQUENCE, old, new, x->name, i);
  }
  for (uint32_t i = 0; i < new->n_sequences; i++) {
    const struct lc_sequence_def *x = &new->sequences[i];
    bool same = false;
    for (uint32_t k = 0; k < old->n_sequences; k++) same = same || (lc_slice_eq(old->sequences[k].name, x->name) && old->sequences[k].column == x->column);
    if (!same) table_step(p, LC_STEP_ADD_SEQUENCE, old, new, x->name, i);
  }
}

static void plan_schedule(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  if (old->has_schedule && new->has_schedule && lc_slice_eq(old->schedule_function, new->schedule_function) && lc_slice_eq(old->schedule_name, new->schedule_name) &&
      old->schedule_at_column == new->schedule_at_column)
    return;
  if (old->has_schedule) table_step(p, LC_STEP_REMOVE_SCHEDULE, old, new, old->schedule_name, 0);
  if (new->has_schedule) table_step(p, LC_STEP_ADD_SCHEDULE, old, new, new->schedule_name, 0);
}

static void plan_outbox(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  const struct lc_outbox_def *x = outbox_of(p->plan->old, old->name), *y = outbox_of(p->plan->new, new->name);
  if (!x && !y) return;
  if (!x) fault(p, "Adding outbox metadata to table %.*s requires a manual migration", S(new->name));
  if (!y) fault(p, "Removing outbox metadata from table %.*s requires a manual migration", S(new->name));
  if (!x || !y) return;
  if (x->target_column != y->target_column) fault(p, "Changing the target column of outbox table %.*s from %u to %u requires a manual migration", S(new->name), x->target_column, y->target_column);
  if (old->primary_key != new->primary_key) fault(p, "Changing the primary key of outbox table %.*s from %d to %d requires a manual migration", S(new->name), old->primary_key, new->primary_key);
  struct lc_slice a = x->on_result >= 0 ? p->plan->old->reducers[x->on_result].name : lc_slice(NULL, 0), b = y->on_result >= 0 ? p->plan->new->reducers[y->on_result].name : lc_slice(NULL, 0);
  if (lc_slice_eq(x->remote_reducer, y->remote_reducer) && same_columns(x->n_args, x->arg_columns, y->n_args, y->arg_columns) && (x->on_result >= 0) == (y->on_result >= 0) && lc_slice_eq(a, b) &&
      memcmp(x->signature.bytes, y->signature.bytes, 32) == 0)
    return;
  table_step(p, LC_STEP_CHANGE_OUTBOX, old, new, new->name, 0);
}

/* ---- tables, views, rules ---- */

static void plan_table(struct planner *p, const struct lc_table_def *old, const struct lc_table_def *new) {
  if (old->is_system != new->is_system)
    fault(p, "Changing the table type of table %.*s from %s to %s requires a manual migration", S(new->name), old->is_system ? "System" : "User", new->is_system ? "System" : "User");
  if (old->is_event != new->is_event) fault(p, "Changing the event flag of table %.*s requires a manual migration", S(new->name));
  if (old->is_public != new->is_public) table_step(p, LC_STEP_CHANGE_ACCESS, old, new, new->name, 0);
  if (old->primary_key != new->primary_key) table_step(p, LC_STEP_CHANGE_PRIMARY_KEY, old, new, new->name, 0);
  if (!lc_slice_eq(old->accessor, new->accessor)) table_step(p, LC_STEP_CHANGE_TABLE_ACCESSOR, old, new, new->name, 0);
  plan_schedule(p, old, new);
  plan_columns(p, old, new);
  plan_indexes(p, old, new);
  plan_constraints(p, old, new);
  plan_sequences(p, old, new);
  plan_outbox(p, old, new);
}

static void view_step(struct planner *p, enum lc_migration_kind kind, const struct lc_view_def *old, const struct lc_view_def *new) {
  const struct lc_view_def *v = new ? new : old;
  struct lc_migration_step *s = step(p, kind, v->mount, v->name);
  if (p->failed) return;
  s->old_view = old;
  s->new_view = new;
}

static bool same_params(struct planner *p, const struct lc_view_def *a, const struct lc_view_def *b) {
  if (a->canonical_params->n_fields != b->canonical_params->n_fields) return false;
  for (uint32_t i = 0; i < a->canonical_params->n_fields; i++) {
    const struct lc_type *x, *y;
    const struct lc_type_field *f = &a->canonical_params->fields[i], *g = &b->canonical_params->fields[i];
    if (!lc_slice_eq(f->name, g->name)) return false;
    if (lc_type_resolve(&p->plan->arena, a->typespace, f->type, &x, NULL) != LC_OK || lc_type_resolve(&p->plan->arena, b->typespace, g->type, &y, NULL) != LC_OK) return false;
    if (!lc_type_eq(x, y)) return false;
  }
  return true;
}

static void plan_view(struct planner *p, const struct lc_view_def *old, const struct lc_view_def *new) {
  bool same = lc_type_eq(old->row_type, new->row_type) && old->is_anonymous == new->is_anonymous && old->primary_key == new->primary_key && same_params(p, old, new);
  if (!same) {
    view_step(p, LC_STEP_REMOVE_VIEW, old, NULL);
    view_step(p, LC_STEP_ADD_VIEW, NULL, new);
    p->plan->breaks_clients = true;
    return;
  }
  if (old->is_public != new->is_public) view_step(p, LC_STEP_CHANGE_ACCESS, old, new);
  if (!lc_slice_eq(old->accessor, new->accessor)) view_step(p, LC_STEP_CHANGE_TABLE_ACCESSOR, old, new);
  view_step(p, LC_STEP_UPDATE_VIEW, old, new);
}

static bool has_rule(const struct lc_module_def *def, struct lc_slice sql) {
  for (uint32_t i = 0; i < def->n_rls; i++)
    if (lc_slice_eq(def->rls_sql[i], sql)) return true;
  return false;
}
static void plan_rls(struct planner *p) {
  const struct lc_module_def *defs[2] = {p->plan->old, p->plan->new};
  for (int k = 0; k < 2; k++)
    for (uint32_t i = 0; i < defs[k]->n_rls; i++) {
      struct lc_migration_step *s = step(p, k ? LC_STEP_ADD_RLS : LC_STEP_REMOVE_RLS, lc_slice(NULL, 0), defs[k]->rls_sql[i]);
      if (p->failed) return;
      s->item = i;
      if (!has_rule(defs[!k], defs[k]->rls_sql[i])) p->plan->rls_changed = true;
    }
  if (p->plan->rls_changed) p->plan->breaks_clients = true;
}

static int by_kind_and_name(const void *a, const void *b) {
  const struct lc_migration_step *x = a, *y = b;
  if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
  int c = compare_names(x->mount, x->name, y->mount, y->name);
  return c ? c : x->item < y->item ? -1 : x->item > y->item;
}

enum lc_status lc_migration_plan_new(const struct lc_module_def *old, const struct lc_module_def *new, struct lc_migration_plan **out) {
  struct planner p = {.plan = lc_alloc_zero(1, sizeof *p.plan)};
  if (!p.plan) return LC_NOMEM;
  p.plan->old = old;
  p.plan->new = new;
  for (uint32_t i = 0; i < old->n_tables; i++) {
    const struct lc_table_def *t = NULL;
    for (uint32_t k = 0; k < new->n_tables && !t; k++)
      if (lc_slice_eq(new->tables[k].name, old->tables[i].name)) t = &new->tables[k];
    if (t) {
      plan_table(&p, &old->tables[i], t);
    } else {
      table_step(&p, LC_STEP_REMOVE_TABLE, &old->tables[i], NULL, old->tables[i].name, 0);
      p.plan->breaks_clients = true;
    }
  }
  for (uint32_t i = 0; i < new->n_tables; i++) {
    bool known = false;
    for (uint32_t k = 0; k < old->n_tables && !known; k++) known = lc_slice_eq(old->tables[k].name, new->tables[i].name);
    if (!known) table_step(&p, LC_STEP_ADD_TABLE, NULL, &new->tables[i], new->tables[i].name, 0);
  }
  for (uint32_t i = 0; i < old->n_views; i++) {
    const struct lc_view_def *v = NULL;
    for (uint32_t k = 0; k < new->n_views && !v; k++)
      if (lc_slice_eq(new->views[k].name, old->views[i].name)) v = &new->views[k];
    if (v) {
      plan_view(&p, &old->views[i], v);
    } else {
      view_step(&p, LC_STEP_REMOVE_VIEW, &old->views[i], NULL);
      p.plan->breaks_clients = true;
    }
  }
  for (uint32_t i = 0; i < new->n_views; i++) {
    bool known = false;
    for (uint32_t k = 0; k < old->n_views && !known; k++) known = lc_slice_eq(old->views[k].name, new->views[i].name);
    if (!known) view_step(&p, LC_STEP_ADD_VIEW, NULL, &new->views[i]);
  }
  plan_rls(&p);
  if (p.plan->breaks_clients) step(&p, LC_STEP_DISCONNECT_ALL_USERS, lc_slice(NULL, 0), lc_slice(NULL, 0));
  if (p.failed) {
    lc_migration_plan_free(p.plan);
    return LC_NOMEM;
  }
  if (p.plan->n_steps > 1) qsort(p.plan->steps, p.plan->n_steps, sizeof *p.plan->steps, by_kind_and_name);
  *out = p.plan;
  return LC_OK;
}

void lc_migration_plan_free(struct lc_migration_plan *plan) {
  if (!plan) return;
  lc_arena_free(&plan->arena);
  lc_free(plan);
}
