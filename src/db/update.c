/* Owns: a new program for a running database (spec/06 §16): the plan of its migration, the policy about clients that break, the update transaction, the
 * exchange of programs.
 *
 * Invariants: compiling and describing happen before, without the baton; planning, migration and exchange are one operation of the baton holder; an
 * update that fails leaves the old program, its tables and its clients as they were. Callers: api/.
 */
#include "db_internal.h"
#include <string.h>

enum lc_status lc_db_load_program(struct lc_db *db, struct lc_slice program, uint8_t program_kind, struct lc_module **out, struct lc_error *err) {
  return lc_module_load(program, program_kind, &db->options.limits, &db->host_env, out, err);
}

void lc_db_migration_token(const struct lc_identity *database, const struct lc_hash *old_program, const struct lc_hash *new_program, struct lc_hash *out) {
  char text[3 * 64 + 1];
  lc_identity_hex(database, text);
  lc_hex_encode(old_program->bytes, 32, text + 64);
  lc_hex_encode(new_program->bytes, 32, text + 128);
  lc_keccak256(lc_slice((const uint8_t *)text, 3 * 64), out->bytes);
}

/* All reasons why there is no automatic migration, as the reference writes them. */
static enum lc_status put_reasons(const struct lc_migration_plan *plan, struct lc_buf *out) {
  lc_buf_str(out, "Errors occurred:\n");
  for (uint32_t i = 0; i < plan->n_errors; i++) {
    lc_buf_slice_append(out, plan->errors[i]);
    lc_buf_str(out, "\n\n");
  }
  return lc_buf_ok(out) ? LC_UNSUPPORTED : LC_NOMEM;
}

enum lc_status lc_db_plan_update(struct lc_db *db, struct lc_module *module, enum lc_plan_style style, struct lc_db_update_plan *out, struct lc_error *err) {
  const struct lc_module_def *old = lc_module_definition(db->module), *def = lc_module_definition(module);
  struct lc_migration_plan *plan;
  enum lc_status st = lc_migration_plan_new(old, def, &plan);
  if (st != LC_OK) return lc_fail(err, st, "out of memory");
  lc_db_migration_token(&db->options.database_identity, lc_module_hash(db->module), lc_module_hash(module), &out->token);
  out->breaks_clients = plan->breaks_clients;
  out->major_upgrade = old->raw_version < 10 && def->raw_version >= 10;
  st = plan->n_errors ? put_reasons(plan, &out->text) : lc_migration_plan_print(plan, style, &out->text);
  lc_migration_plan_free(plan);
  if (st == LC_OK || st == LC_UNSUPPORTED) return st;
  return lc_fail(err, st, "out of memory");
}

static enum lc_status check_policy(struct lc_db *db, const struct lc_module *module, const struct lc_migration_plan *plan, const struct lc_db_update_policy *policy, struct lc_error *err) {
  struct lc_hash wanted;
  if (!policy->break_clients) return plan->breaks_clients ? lc_fail(err, LC_DENIED, "Migration plan contains a client-breaking change which is disallowed under current policy") : LC_OK;
  lc_db_migration_token(&db->options.database_identity, lc_module_hash(db->module), lc_module_hash(module), &wanted);
  return memcmp(&wanted, &policy->token, sizeof wanted) == 0 ? LC_OK : lc_fail(err, LC_DENIED, "Token provided is invalid or does not match expected hash");
}

static void log_step(void *ctx, const char *line) {
  struct lc_db *db = ctx;
  module_log_engine(db->log, 2 /* info */, db->options.env->now_us(db->options.env->ctx), "__spacetimedb__", "%s", line);
}

/* Live views run with the new program in the same transaction. *instance becomes NULL when it has died of that. */
static enum lc_status rerun_views(struct lc_db *db, struct lc_tx *tx, struct lc_module *module, struct lc_instance **instance, struct lc_error *err) {
  struct lc_module *old_module = db->module;
  struct lc_instance *old_instance = db->instance;
  db->module = module;
  db->instance = *instance;
  enum lc_status st = views_rerun(db, tx, err);
  *instance = db->instance;
  db->module = old_module;
  db->instance = old_instance;
  return st;
}

/* A migration that breaks clients: their subscriptions end before its commit, which is not evaluated for them; after it each gets its disconnect, run by
 * the new program, and is sent away. What they still send has no effect. */
static void end_subscriptions(struct lc_db *db) {
  for (struct lc_db_client *c = db->all_clients; c; c = c->all_next) {
    if (!c->is_connected) continue;
    lc_live_drop_client(db->live, c);
    views_release_all(db, c);
  }
}
static void dismiss_clients(struct lc_db *db) {
  for (struct lc_db_client *c = db->all_clients; c; c = c->all_next) {
    if (!c->is_connected) continue;
    c->is_connected = false;
    db_procedures_forget_client(db, c);
    db_disconnect(db, &c->identity, &c->connection_id);
    db_mark_dirty(db, c);
    c->ops->dismissed(c);
  }
}

static enum lc_status run_plan(struct lc_db *db, struct lc_module *module, const struct lc_module_facts *facts, const struct lc_migration_plan *plan, struct lc_db_env_update *environment, struct lc_error *err) {
  struct lc_instance *instance;
  enum lc_status st = lc_instance_new(module, &db->host_env, &instance, err);
  if (st != LC_OK) return st;
  struct lc_tx *tx = lc_tx_begin(db->ds);
  bool changed;
  st = tx ? db_env_apply(db, tx, lc_module_definition(module), environment, &changed, err) : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) st = lc_migration_run(tx, plan, facts, log_step, db, err);
  if (st == LC_OK) st = db_check_rules(db, lc_module_definition(module), err);
  if (st == LC_OK) st = rerun_views(db, tx, module, &instance, err);
  if (st == LC_OK) st = db_reserve_record(db, tx, NULL, err);
  if (st == LC_OK && (st = db_set_module(db, lc_module_ref(module), instance)) != LC_OK) {
    lc_module_unref(module);
    views_undone(db);
    lc_fail(err, st, "out of memory");
  }
  if (st != LC_OK) {
    if (tx) lc_tx_rollback(tx);
    if (instance) lc_instance_free(instance);
    return st;
  }
  if (plan->breaks_clients) end_subscriptions(db);
  db_commit_of(db, tx, &db->options.owner_identity, UINT32_MAX);
  views_drop_gone(db);
  scheduler_restart(db);
  if (plan->breaks_clients) dismiss_clients(db);
  return LC_OK;
}

enum lc_status lc_db_update_environment(struct lc_db *db, struct lc_db_env_update *u, const struct lc_hash *expected, uint64_t *tx_offset, struct lc_error *err) {
  bool changed;
  *tx_offset = db->next_offset;
  if (db_check_alive(db, err) != LC_OK) return LC_IO;
  if (expected && memcmp(expected, lc_module_hash(db->module), sizeof *expected) != 0)
    return lc_fail(err, LC_CONFLICT, "database program changed before publication; reload environment metadata and retry");
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return lc_fail(err, LC_NOMEM, "out of memory");
  enum lc_status st = db_env_apply(db, tx, lc_module_definition(db->module), u, &changed, err);
  if (st == LC_OK && changed && (st = db_before_commit(db, tx, NULL, err)) != LC_OK) {
    if (st == LC_TRAP || st == LC_BUDGET) lc_fail(err, LC_TRAP, "view evaluation failed during environment publication");
    st = err->status;
  }
  if (st != LC_OK || !changed) { /* nothing changes: no transaction */
    lc_tx_rollback(tx);
    return st;
  }
  db_commit_of(db, tx, &db->options.owner_identity, UINT32_MAX);
  *tx_offset = db->next_offset;
  return LC_OK;
}

enum lc_status lc_db_update(struct lc_db *db, struct lc_module *module, struct lc_slice program, uint8_t program_kind, const struct lc_db_update_policy *policy, struct lc_buf *reasons, uint64_t *tx_offset,
                            struct lc_error *err) {
  *tx_offset = db->next_offset;
  if (db_check_alive(db, err) != LC_OK) return LC_IO;
  if (memcmp(lc_module_hash(module), lc_module_hash(db->module), sizeof(struct lc_hash)) == 0) return lc_db_update_environment(db, policy->environment, NULL, tx_offset, err);
  struct lc_module_facts facts = {.database = db->options.database_identity,
                                  .owner = db->options.owner_identity,
                                  .program_kind = program_kind,
                                  .program_hash = *lc_module_hash(module),
                                  .program_bytes = program};
  struct lc_module *old = lc_module_ref(db->module); /* the plan points into its definition */
  struct lc_migration_plan *plan;
  enum lc_status st = lc_migration_plan_new(lc_module_definition(old), lc_module_definition(module), &plan);
  if (st != LC_OK) {
    lc_fail(err, st, "out of memory");
  } else {
    st = plan->n_errors ? put_reasons(plan, reasons) : check_policy(db, module, plan, policy, err);
    if (st == LC_NOMEM) lc_fail(err, st, "out of memory");
    if (st == LC_OK) st = run_plan(db, module, &facts, plan, policy->environment, err);
    lc_migration_plan_free(plan);
  }
  lc_module_unref(old);
  if (st == LC_OK) *tx_offset = db->next_offset;
  return st;
}
