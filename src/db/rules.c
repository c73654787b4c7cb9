/* Owns: the check of a module's row-level security rules when it is published (spec/05 §10): each must be a query for whole rows of one public table.
 * Callers: open.c, http.c. */
#include "db_internal.h"

enum lc_status db_check_rules(struct lc_db *db, const struct lc_module_def *def, struct lc_error *err) {
  struct lc_sql_caller owner = {.identity = db->options.owner_identity, .is_owner = true};
  for (uint32_t i = 0; i < def->n_rls; i++) {
    struct lc_plan *plan;
    struct lc_slice sql = def->rls_sql[i];
    enum lc_status st = lc_sql_compile((struct lc_read_view){.ds = db->ds}, sql, LC_SQL_QUERY, &owner, &plan, err);
    if (st == LC_OK) {
      const struct lc_table_info *t = lc_plan_table(plan);
      if (!t->is_public)
        st = lc_fail(err, LC_INVALID, "Cannot define RLS rule on private table: %.*s. Please make table public if you wish to restrict access using RLS.", (int)t->name.len, (const char *)t->name.data);
      else if (t->view && t->view->params && t->view->params->n_fields)
        st = lc_fail(err, LC_INVALID, "Row-level security is not supported on parameterized views: %.*s", (int)sql.len, (const char *)sql.data);
      lc_plan_free(plan);
    }
    if (st == LC_OK) continue;
    lc_fail_context(err, "failed to create row-level security: `%.*s`", (int)(sql.len < 1024 ? sql.len : 1024), (const char *)sql.data);
    return st;
  }
  return LC_OK;
}
