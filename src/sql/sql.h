/* The face of sql/: text to plan to rows (spec/05 §1-§12). Plans are compiled against one schema version of a datastore and
 * belong to whoever compiled them; they hold no rows. Callers: live/ (subscriptions), db/ (one-off queries, HTTP SQL). */
#ifndef LC_SQL_H
#define LC_SQL_H
#include "../engine/engine.h"

enum lc_sql_language { LC_SQL_SUBSCRIPTION, LC_SQL_ONE_OFF }; /* spec/05 §3.1, §3.2 */
struct lc_sql_caller { struct lc_identity identity; bool is_owner; };
enum lc_sql_kind { LC_SQL_SELECT, LC_SQL_COUNT };
struct lc_plan;

/* Parses, resolves and types a SELECT over one table: `*`, `t.*`, columns, COUNT(*), WHERE with comparisons, AND, OR, LIMIT; joins and
 * DML give LC_UNSUPPORTED. `sql` (limit 50,000 bytes: LC_LIMIT). Error texts of spec/05 §4-§9 in *err. */
enum lc_status lc_sql_compile(struct lc_datastore *ds, struct lc_slice sql, enum lc_sql_language language, const struct lc_sql_caller *caller, struct lc_plan **out, struct lc_error *err);
void lc_plan_free(struct lc_plan *plan);
enum lc_sql_kind lc_plan_kind(const struct lc_plan *plan);
/* The table whose whole rows the plan returns (subscriptions always; one-off SELECT t.*), else NULL. */
const struct lc_table_info *lc_plan_table(const struct lc_plan *plan);
/* Type of a result row (product; projections and COUNT have their own). */
const struct lc_type *lc_plan_row_type(const struct lc_plan *plan);
/* Bytes that are equal exactly for queries that mean the same for this caller (spec/05 §14): key for sharing. */
struct lc_slice lc_plan_key(const struct lc_plan *plan);

/* Runs a SELECT or COUNT on a view; row callback gets each result row (bag semantics); returning false stops. */
enum lc_status lc_plan_run(const struct lc_plan *plan, struct lc_read_view view, bool (*row)(void *ctx, struct lc_slice row), void *ctx, struct lc_error *err);
/* For single-table plans: does the row satisfy WHERE? */
bool lc_plan_matches(const struct lc_plan *plan, struct lc_slice row);
/* If every matching row must have column = value (a conjunct col = literal): column and BSATN value, for the predicate index. */
bool lc_plan_equality(const struct lc_plan *plan, uint16_t *column, struct lc_slice *value);

#endif
