/* The face of sql/: text to plan to rows (spec/05 §1-§13, spec/07 §5). A plan is compiled against a read view for one caller and holds no rows; it points into
 * the catalog of that view, so it may be used as long as an opened view is held, or, with the live view, until the next schema change.
 *
 * Callers: live/ (subscriptions), db/ (one-off queries, HTTP SQL).
 */
#ifndef LC_SQL_H
#define LC_SQL_H
#include "../engine/engine.h"

enum { LC_SQL_MAX_BYTES = 50000, LC_SQL_MAX_RELATIONS = 16 };
/* Subscriptions; queries of one-off messages, rules and views (the same language without what needs an index); statements of HTTP (spec/05 §1). */
enum lc_sql_language { LC_SQL_SUBSCRIPTION, LC_SQL_QUERY, LC_SQL_STATEMENT };
/* has_all_rights: no row-level security and no row limit, though not the owner (views' own SQL). */
struct lc_sql_caller { struct lc_identity identity; bool is_owner, has_all_rights; };
enum lc_sql_kind { LC_SQL_SELECT, LC_SQL_COUNT, LC_SQL_INSERT, LC_SQL_UPDATE, LC_SQL_DELETE };
struct lc_plan;

/* Parses, resolves, types, applies row-level security and plans one statement. Error texts of spec/05 §2-§13 in *err. LC_INVALID, LC_LIMIT (length, depth,
 * row limit), LC_NOT_FOUND (no such table), LC_DENIED, LC_NOMEM. */
enum lc_status lc_sql_compile(struct lc_read_view view, struct lc_slice sql, enum lc_sql_language language, const struct lc_sql_caller *caller, struct lc_plan **out, struct lc_error *err);
void lc_plan_free(struct lc_plan *plan); /* NULL is allowed */
enum lc_sql_kind lc_plan_kind(const struct lc_plan *plan);
/* The table or view whose whole rows the plan returns (subscriptions and queries always), else NULL. */
const struct lc_table_info *lc_plan_table(const struct lc_plan *plan);
/* Type of a result row: of a view without arg_hash; projections and COUNT have their own; of INSERT, UPDATE and DELETE an empty product. */
const struct lc_type *lc_plan_row_type(const struct lc_plan *plan);
/* Bytes that are equal exactly for queries that mean the same for this caller (spec/05 §14): key for sharing. */
struct lc_slice lc_plan_key(const struct lc_plan *plan);
/* Rows that the plan would look at, as the row limit counts them (spec/05 §8). *limit: UINT64_MAX where none applies to this caller. */
uint64_t lc_plan_estimate(const struct lc_plan *plan, struct lc_read_view view, uint64_t *limit);
enum lc_status lc_plan_check_limit(uint64_t estimate, uint64_t limit, struct lc_error *err); /* LC_LIMIT with the documented text */
/* Appends the plan as text for people: a line for each step. */
void lc_plan_explain(const struct lc_plan *plan, struct lc_read_view view, struct lc_buf *out);

/* What the plan reads of a view: which instance (spec/05 §21.2, spec/07 §5.2). */
struct lc_plan_view { const struct lc_table_info *table; uint8_t arg_hash[32]; struct lc_slice args; /* BSATN of the arguments */ };
uint32_t lc_plan_views(const struct lc_plan *plan, const struct lc_plan_view **views);
bool lc_plan_is_per_identity(const struct lc_plan *plan); /* it or a rule says :sender, or it reads a sender's view */

/* Runs a SELECT or COUNT; row gets each result row (bag semantics), valid during the call; returning false stops. LC_NOMEM. Any thread, if the view is
 * opened. */
enum lc_status lc_plan_run(const struct lc_plan *plan, struct lc_read_view view, bool (*row)(void *ctx, struct lc_slice row), void *ctx, struct lc_error *err);
/* Runs an INSERT, UPDATE or DELETE in a transaction (spec/05 §7); view: the live one of its datastore. Errors: roll back. */
struct lc_dml_counts { uint64_t inserted, deleted, updated; };
enum lc_status lc_plan_change(const struct lc_plan *plan, struct lc_read_view view, struct lc_tx *tx, struct lc_dml_counts *counts, struct lc_error *err);

/* ---- for subscriptions: the parts of a query and their deltas ---- */

/* A query is a union of fragments, each a join of relations (of one: the table itself). Fragments differ only with row-level security. */
uint32_t lc_plan_n_fragments(const struct lc_plan *plan);
uint32_t lc_fragment_n_relations(const struct lc_plan *plan, uint32_t fragment);
const struct lc_table_info *lc_fragment_table(const struct lc_plan *plan, uint32_t fragment, uint32_t relation);
uint32_t lc_fragment_result(const struct lc_plan *plan, uint32_t fragment); /* the relation whose rows are returned */
/* Do the conditions on this relation alone hold for the row? A row for which they do not cannot change the query. */
bool lc_fragment_admits(const struct lc_plan *plan, uint32_t fragment, uint32_t relation, struct lc_slice row);
/* What a changed row of the relation must be like to matter, for an index of queries: columns equal to values, or in intervals (low or high without data:
 * open). Values are BSATN, in the plan. */
enum { LC_SEARCH_MAX_COLUMNS = 4, LC_SEARCH_MAX_INTERVALS = 3 };
enum lc_search_kind { LC_SEARCH_ANY, LC_SEARCH_EQUAL, LC_SEARCH_BOX };
struct lc_interval { uint16_t column; struct lc_slice low, high; bool low_excluded, high_excluded; };
struct lc_search {
  enum lc_search_kind kind;
  uint32_t n_columns; uint16_t columns[LC_SEARCH_MAX_COLUMNS]; struct lc_slice values[LC_SEARCH_MAX_COLUMNS]; /* EQUAL */
  bool is_complete;                    /* lc_fragment_admits asks nothing else */
  uint32_t n_intervals; struct lc_interval intervals[LC_SEARCH_MAX_INTERVALS];                               /* BOX */
};
void lc_fragment_search(const struct lc_plan *plan, uint32_t fragment, uint32_t relation, struct lc_search *out);
/* In a join of two: the other relation, if its rows that join with a row of this one are found by an index on one column. column: of this relation, equal to
 * the index's; search: what the partner must be like. False: no such index, or an event table or a view on either side. */
struct lc_edge { uint16_t column; const struct lc_table_info *partner; const struct lc_index_info *index; struct lc_search search; };
bool lc_fragment_edge(const struct lc_plan *plan, uint32_t fragment, uint32_t relation, struct lc_edge *out);
/* Runs one fragment where a relation may be read from a list of rows instead of its table. */
struct lc_sql_source { bool is_rows; uint32_t n_rows; const struct lc_slice *rows; };
enum lc_status lc_fragment_run(const struct lc_plan *plan, uint32_t fragment, struct lc_read_view view, const struct lc_sql_source *sources, bool (*row)(void *ctx, struct lc_slice row), void *ctx,
                               struct lc_error *err);

#endif
