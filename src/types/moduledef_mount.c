/* Submodules of a module definition: namespaces, and their items in the lists of the module that mounts them (spec/01 §10.2, §11, §14.2;
 * spec/07 §4.4).
 *
 * A submodule is built as if it were a root; mounting copies its lists behind the parent's with the namespace before every name, so that
 * the order is depth-first and positions are the ids of the ABI (spec/02 §2).
 */
#include "moduledef_internal.h"

enum { MAX_NAMESPACE_BYTES = 63 };
struct mount { struct lc_slice name, accessor; }; /* canonical namespace and accessor */

static struct lc_slice prefixed(struct builder *b, struct lc_slice prefix, struct lc_slice name) {
  lc_buf_slice_append(&b->c->scratch, prefix);
  if (name.len) lc_buf_u8(&b->c->scratch, '.');
  lc_buf_slice_append(&b->c->scratch, name);
  return def_text(b->c);
}

static void mount_table(struct builder *b, const struct mount *m, struct lc_table_def *t) {
  struct lc_index_def *indexes = def_alloc(b->c, t->n_indexes, sizeof *indexes);
  struct lc_constraint_def *constraints = def_alloc(b->c, t->n_constraints, sizeof *constraints);
  struct lc_sequence_def *sequences = def_alloc(b->c, t->n_sequences, sizeof *sequences);
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    indexes[i] = t->indexes[i];
    indexes[i].name = prefixed(b, m->name, indexes[i].name);
    indexes[i].source_name = prefixed(b, m->accessor, indexes[i].source_name);
    def_use_name(b, indexes[i].name);
  }
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    constraints[i] = t->constraints[i];
    constraints[i].name = prefixed(b, m->name, constraints[i].name);
    def_use_name(b, constraints[i].name);
  }
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    sequences[i] = t->sequences[i];
    sequences[i].name = prefixed(b, m->name, sequences[i].name);
    def_use_name(b, sequences[i].name);
  }
  t->indexes = indexes;
  t->constraints = constraints;
  t->sequences = sequences;
  t->name = prefixed(b, m->name, t->name);
  t->accessor = prefixed(b, m->accessor, t->accessor);
  t->mount = prefixed(b, m->name, t->mount);
  def_use_name(b, t->name);
  if (!t->has_schedule) return;
  t->schedule_name = prefixed(b, m->name, t->schedule_name);
  t->schedule_function = prefixed(b, m->name, t->schedule_function);
  def_use_name(b, t->schedule_name);
}

static void mount_functions(struct builder *b, const struct mount *m, uint32_t n, const struct lc_function_def *from, struct lc_function_def *to) {
  for (uint32_t i = 0; i < n; i++) {
    to[i] = from[i];
    to[i].name = prefixed(b, m->name, to[i].name);
    to[i].accessor = prefixed(b, m->accessor, to[i].accessor);
  }
}

/* Appends the submodule's lists to the parent's, which have room. */
static void mount_items(struct builder *b, const struct mount *m, const struct lc_module_def *sub, struct lc_outbox_def *outboxes, struct lc_slice *rls) {
  struct lc_module_def *def = b->def;
  uint32_t views[2] = {0, 0}; /* of each anonymity, so far */
  for (uint32_t i = 0; i < def->n_views; i++) views[b->views[i].is_anonymous]++;
  for (uint32_t i = 0; i < sub->n_outboxes; i++) {
    struct lc_outbox_def *o = &outboxes[def->n_outboxes++];
    *o = sub->outboxes[i];
    o->table = prefixed(b, m->name, o->table);
    o->table_index += def->n_tables;
    if (o->on_result >= 0) o->on_result += (int32_t)def->n_reducers;
  }
  for (uint32_t i = 0; i < sub->n_tables; i++) {
    b->tables[def->n_tables] = sub->tables[i];
    mount_table(b, m, &b->tables[def->n_tables++]);
  }
  mount_functions(b, m, sub->n_reducers, sub->reducers, b->reducers + def->n_reducers);
  def->n_reducers += sub->n_reducers;
  mount_functions(b, m, sub->n_procedures, sub->procedures, b->procedures + def->n_procedures);
  def->n_procedures += sub->n_procedures;
  for (uint32_t i = 0; i < sub->n_views; i++) {
    struct lc_view_def *v = &b->views[def->n_views++];
    *v = sub->views[i];
    v->name = prefixed(b, m->name, v->name);
    v->accessor = prefixed(b, m->accessor, v->accessor);
    v->mount = prefixed(b, m->name, v->mount);
    v->fn_index += views[v->is_anonymous];
    def_use_name(b, v->name);
  }
  for (uint32_t i = 0; i < sub->n_rls; i++) rls[def->n_rls++] = sub->rls_sql[i];
}

static void check_conflicts(struct builder *b, struct lc_slice accessor, const struct types_names *views) {
  const struct { const char *kind; const struct types_names *names; } spaces[] = {
      {"table", &b->table_sources}, {"view", views}, {"reducer", &b->reducer_sources}, {"procedure", &b->procedure_sources}};
  for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
    if (types_names_find(b->c->arena, spaces[i].names, accessor, NULL))
      def_fault(b->c, FAULT_NamespaceConflict, "naming conflict between %s `%.*s` and submodule namespace `%.*s`; a %s cannot share its accessor name with a namespace mounted in the same module",
                spaces[i].kind, S(accessor), S(accessor), spaces[i].kind);
}

static void check_namespace(struct builder *b, const struct mount *m, struct types_names *accessors, struct types_names *names) {
  bool ok = true;
  const struct lc_slice both[] = {m->accessor, m->name};
  for (int i = 0; i < 2 && ok; i++) {
    if (both[i].len > MAX_NAMESPACE_BYTES) {
      def_fault(b->c, FAULT_NamespaceTooLong, "namespace `%.*s` is longer than %d bytes", S(both[i]), MAX_NAMESPACE_BYTES);
      ok = false;
    } else {
      ok = def_check_name(b, both[i], "namespace");
    }
  }
  bool new_accessor = def_add_name(b->c, accessors, m->accessor, 0), new_name = def_add_name(b->c, names, m->name, 0);
  if (!new_accessor || !new_name) def_fault(b->c, FAULT_DuplicateName, "namespace `%.*s` is used twice", S(new_accessor ? m->name : m->accessor));
}

static void *grown(struct builder *b, const void *own, size_t n_own, size_t n, size_t size_bytes) {
  void *all = def_alloc(b->c, n, size_bytes);
  if (n_own) memcpy(all, own, n_own * size_bytes);
  return all;
}

void def_mount_submodules(struct builder *b, unsigned depth) {
  const struct raw_module *raw = b->raw;
  struct lc_module_def *def = b->def;
  if (raw->n_submodules == 0) return;
  struct lc_submodule_def *submodules = def_alloc(b->c, raw->n_submodules, sizeof *submodules);
  struct lc_module_def *subs = def_alloc(b->c, raw->n_submodules, sizeof *subs);
  struct types_names accessors = {0}, names = {0}, views = {0};
  size_t n_tables = def->n_tables, n_reducers = def->n_reducers, n_procedures = def->n_procedures, n_views = def->n_views, n_outboxes = def->n_outboxes, n_rls = def->n_rls;
  for (uint32_t i = 0; i < raw->n_views; i++) def_add_name(b->c, &views, raw->views[i].accessor, 0);
  for (uint32_t i = 0; i < raw->n_submodules; i++) {
    const struct raw_module *module = raw->submodules[i].module;
    struct mount m = {.accessor = raw->submodules[i].accessor};
    m.name = def_canonical(b, NAME_NAMESPACE, m.accessor);
    check_namespace(b, &m, &accessors, &names);
    check_conflicts(b, m.accessor, &views);
    if (module->n_env) def_fault(b->c, FAULT_Environment, "submodule \"%.*s\" cannot declare environment variables", S(m.accessor));
    if (module->n_lifecycles) def_fault(b->c, FAULT_LifecycleInSubmodule, "submodule `%.*s` has a lifecycle reducer, which only the root module may have", S(m.accessor));
    def_build(b->c, module, &subs[i], depth + 1);
    submodules[i] = (struct lc_submodule_def){m.accessor, m.name, &subs[i]};
    n_tables += subs[i].n_tables;
    n_reducers += subs[i].n_reducers;
    n_procedures += subs[i].n_procedures;
    n_views += subs[i].n_views;
    n_outboxes += subs[i].n_outboxes;
    n_rls += subs[i].n_rls;
  }
  def->submodules = submodules;
  def->n_submodules = raw->n_submodules;
  if (b->c->n_found) return; /* it fails anyway */
  def->tables = b->tables = grown(b, def->tables, def->n_tables, n_tables, sizeof *def->tables);
  def->reducers = b->reducers = grown(b, def->reducers, def->n_reducers, n_reducers, sizeof *def->reducers);
  def->procedures = b->procedures = grown(b, def->procedures, def->n_procedures, n_procedures, sizeof *def->procedures);
  def->views = b->views = grown(b, def->views, def->n_views, n_views, sizeof *def->views);
  struct lc_outbox_def *outboxes = grown(b, def->outboxes, def->n_outboxes, n_outboxes, sizeof *outboxes);
  struct lc_slice *rls = grown(b, def->rls_sql, def->n_rls, n_rls, sizeof *rls);
  def->outboxes = outboxes;
  def->rls_sql = rls;
  for (uint32_t i = 0; i < raw->n_submodules; i++) {
    struct mount m = {submodules[i].name, submodules[i].accessor};
    mount_items(b, &m, &subs[i], outboxes, rls);
  }
}
