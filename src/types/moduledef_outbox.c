/* Outboxes of a module definition and the signature hash of reducers (spec/07 §4.3, §4.8). */
#include "moduledef_internal.h"

/* ---- signature ---- */

enum { MAX_WALK_DEPTH = 8 * LC_TYPE_MAX_DEPTH };
/* Types are written with references numbered by first use; each referenced definition goes into a buffer of its own. */
struct walk {
  const struct lc_typespace *ts;
  uint32_t *local; /* of each slot: its number + 1, or 0 */
  struct lc_buf *slots;
  uint32_t n_slots;
  bool too_deep;
};

static void walk_type(struct walk *w, struct lc_buf *out, const struct lc_type *t, unsigned depth) {
  if (depth > MAX_WALK_DEPTH || w->too_deep) {
    w->too_deep = true;
    return;
  }
  lc_buf_u8(out, (uint8_t)t->kind);
  if (t->kind == LC_T_REF) {
    uint32_t *local = &w->local[t->ref];
    bool is_new = *local == 0;
    if (is_new) *local = ++w->n_slots; /* before its definition is walked: it may refer to itself */
    lc_buf_u32(out, *local - 1);
    if (is_new) walk_type(w, &w->slots[*local - 1], w->ts->types[t->ref], depth + 1);
  } else if (t->kind == LC_T_ARRAY) {
    walk_type(w, out, t->elem, depth + 1);
  } else if (t->kind == LC_T_SUM || t->kind == LC_T_PRODUCT) {
    lc_buf_u32(out, t->n_fields);
    for (uint32_t i = 0; i < t->n_fields; i++) {
      lc_buf_u8(out, t->fields[i].has_name ? 0 : 1);
      if (t->fields[i].has_name) lc_buf_bsatn_bytes(out, t->fields[i].name);
      walk_type(w, out, t->fields[i].type, depth + 1);
    }
  }
}

enum lc_status lc_reducer_signature(const struct lc_function_def *f, struct lc_hash *out, struct lc_error *err) {
  static const char domain[] = "spacetimedb:idc:reducer-signature:v1"; /* hashed with its NUL */
  uint32_t n = f->typespace->n;
  struct walk w = {.ts = f->typespace, .local = lc_alloc_zero(n + 1, sizeof *w.local), .slots = lc_alloc_zero(n + 1, sizeof *w.slots)};
  struct lc_buf text = {0};
  bool ok = w.local && w.slots;
  if (ok) {
    lc_buf_append(&text, domain, sizeof domain);
    walk_type(&w, &text, f->canonical_params, 0);
    walk_type(&w, &text, f->ok_type, 0);
    walk_type(&w, &text, f->err_type, 0);
    lc_buf_u32(&text, w.n_slots);
    for (uint32_t i = 0; i < w.n_slots; i++) {
      ok = ok && lc_buf_ok(&w.slots[i]);
      lc_buf_slice_append(&text, lc_buf_slice(&w.slots[i]));
      lc_buf_free(&w.slots[i]);
    }
    ok = ok && lc_buf_ok(&text);
    if (ok) lc_keccak256(lc_buf_slice(&text), out->bytes);
  }
  lc_buf_free(&text);
  lc_free(w.local);
  lc_free(w.slots);
  if (!ok) return lc_fail(err, LC_NOMEM, "out of memory");
  return w.too_deep ? lc_fail(err, LC_LIMIT, "the parameters of reducer %.*s are nested deeper than %d", S(f->name), MAX_WALK_DEPTH) : LC_OK;
}

/* ---- outboxes ---- */

static bool remote_name_ok(struct builder *b, struct lc_slice name) { /* identifiers parted by dots */
  size_t from = 0;
  for (size_t i = 0; i <= name.len; i++) {
    const char *fault;
    if (i < name.len && name.data[i] != '.') continue;
    if (types_identifier_fault(lc_slice(name.data + from, i - from), &fault) != LC_OK) def_stop(b->c, LC_NOMEM, "out of memory");
    if (fault) return false;
    from = i + 1;
  }
  return true;
}

static bool is_qualified(struct lc_slice name) {
  for (size_t i = 0; i < name.len; i++)
    if (name.data[i] == '.' || (name.data[i] == ':' && i + 1 < name.len && name.data[i + 1] == ':')) return true;
  return false;
}

/* (the row by reference, Result<(), String>); names are free. */
static bool takes_result(const struct lc_type *params, uint32_t type_ref) {
  if (params->n_fields != 2) return false;
  const struct lc_type *row = params->fields[0].type, *result = params->fields[1].type;
  return row->kind == LC_T_REF && row->ref == type_ref && result->special == LC_SPECIAL_RESULT && result->fields[0].type->kind == LC_T_PRODUCT &&
         result->fields[0].type->n_fields == 0 && result->fields[1].type->kind == LC_T_STRING;
}

static void wrong_callback(struct builder *b, const struct raw_outbox *o, const struct lc_table_def *t, const struct lc_type *params) {
  struct lc_buf *has = &b->c->scratch;
  lc_buf_clear(has);
  for (uint32_t i = 0; i < params->n_fields && has->len < 256; i++) {
    if (i) lc_buf_str(has, ", ");
    lc_type_display(has, params->fields[i].type);
  }
  def_fault(b->c, FAULT_Outbox, "on_result reducer %.*s for outbox %.*s expected parameters (&%u, (ok: () | err: String)), but has (%.*s)", S(o->on_result), S(t->name), t->type_ref, S(*has));
}

static void build_outbox(struct builder *b, const struct raw_outbox *o, struct types_names *assigned, struct lc_outbox_def *out) {
  uint32_t at;
  *out = o->def;
  if (!types_names_find(b->c->arena, &b->table_sources, o->table, &at)) {
    def_fault(b->c, FAULT_Outbox, "outbox table %.*s not found", S(o->table));
    return;
  }
  const struct lc_table_def *t = &b->tables[at];
  const struct lc_column_def *key = t->primary_key >= 0 ? &t->columns[t->primary_key] : NULL, *target = out->target_column < t->n_columns ? &t->columns[out->target_column] : NULL;
  out->table = t->name;
  out->table_index = at;
  out->remote_reducer = o->remote_reducer;
  out->on_result = -1;
  if (!def_add_name(b->c, assigned, o->table, 0)) {
    def_fault(b->c, FAULT_Outbox, "table %.*s is assigned in multiple outboxes", S(t->name));
  } else if (t->is_event) {
    def_fault(b->c, FAULT_Outbox, "outbox table %.*s must not be an event table", S(t->name));
  } else if (t->has_schedule) {
    def_fault(b->c, FAULT_Outbox, "outbox table %.*s must not be a scheduled table", S(t->name));
  } else if (!key) {
    def_fault(b->c, FAULT_Outbox, "outbox table %.*s must have a primary key", S(t->name));
  } else if (key->type->kind != LC_T_U64) {
    lc_buf_clear(&b->c->scratch);
    lc_type_display(&b->c->scratch, key->type);
    def_fault(b->c, FAULT_Outbox, "outbox table %.*s primary key must be u64, found %.*s", S(t->name), b->c->scratch.len < 200 ? (int)b->c->scratch.len : 200, (const char *)b->c->scratch.data);
  } else if (!target || target == key || (target->type->special != LC_SPECIAL_IDENTITY && target->type->kind != LC_T_U256)) {
    def_fault(b->c, FAULT_Outbox, "outbox table %.*s must have exactly one non-primary-key identity target column", S(t->name));
  } else {
    for (uint32_t i = 0; i < out->n_args; i++) {
      if (out->arg_columns[i] < t->n_columns) continue;
      def_fault(b->c, FAULT_Outbox, "outbox table %.*s argument column %u does not exist", S(t->name), out->arg_columns[i]);
      return;
    }
    if (!remote_name_ok(b, o->remote_reducer)) {
      def_fault(b->c, FAULT_IdentifierError, "remote reducer name `%.*s` of outbox %.*s is no valid identifier", S(o->remote_reducer), S(t->name));
      return;
    }
    if (!o->has_on_result) return;
    struct lc_function_def *f = is_qualified(o->on_result) ? NULL : def_find_reducer(b, o->on_result);
    if (is_qualified(o->on_result))
      def_fault(b->c, FAULT_Outbox, "on_result reducer %.*s for outbox %.*s must be an unqualified name in the same module; cross-module callbacks are not supported", S(o->on_result), S(t->name));
    else if (!f)
      def_fault(b->c, FAULT_Outbox, "on_result reducer %.*s for outbox %.*s does not exist", S(o->on_result), S(t->name));
    else if (!takes_result(f->params, t->type_ref))
      wrong_callback(b, o, t, f->params);
    if (!f) return;
    out->on_result = (int32_t)(f - b->reducers);
    f->is_private = true;
  }
}

void def_build_outboxes(struct builder *b) {
  struct types_names assigned = {0};
  struct lc_outbox_def *outboxes = def_alloc(b->c, b->raw->n_outboxes, sizeof *outboxes);
  b->def->outboxes = outboxes;
  b->def->n_outboxes = b->raw->n_outboxes;
  for (uint32_t i = 0; b->tables_ok && i < b->raw->n_outboxes; i++) build_outbox(b, &b->raw->outboxes[i], &assigned, &outboxes[i]);
}
