/* The face of engine/ (and through it of store/): one database's tables, transactions, catalog, log records.
 *
 * A `struct lc_datastore` belongs to the thread that holds the database's baton: every call here is made by it, except those on an open
 * read view (lc_read_view_open), which any thread may make.
 * At most one transaction is open at a time. Rows are BSATN everywhere (DESIGN idea 1).
 * Callers: host/ (ABI calls), sql/, live/, db/.
 */
#ifndef LC_ENGINE_H
#define LC_ENGINE_H
#include "../store/store.h"

/* Error numbers of the module ABI (spec/02 §6); the functions below return one of these, 0 for success. */
enum lc_errno {
  LC_ERRNO_OK = 0, LC_ERRNO_HOST_CALL_FAILURE = 1, LC_ERRNO_NOT_IN_TRANSACTION = 2, LC_ERRNO_BSATN_DECODE = 3, LC_ERRNO_NO_SUCH_TABLE = 4,
  LC_ERRNO_NO_SUCH_INDEX = 5, LC_ERRNO_NO_SUCH_ITER = 6, LC_ERRNO_NO_SUCH_CONSOLE_TIMER = 7, LC_ERRNO_NO_SUCH_BYTES = 8, LC_ERRNO_NO_SPACE = 9,
  LC_ERRNO_WRONG_INDEX_ALGO = 10, LC_ERRNO_BUFFER_TOO_SMALL = 11, LC_ERRNO_UNIQUE_EXISTS = 12, LC_ERRNO_SCHEDULE_TOO_LONG = 13,
  LC_ERRNO_INDEX_NOT_UNIQUE = 14, LC_ERRNO_NO_SUCH_ROW = 15, LC_ERRNO_AUTO_INC_OVERFLOW = 16, LC_ERRNO_WOULD_BLOCK_TX = 17,
  LC_ERRNO_TX_NOT_ANONYMOUS = 18, LC_ERRNO_TX_READ_ONLY = 19, LC_ERRNO_TX_IS_MUT = 20, LC_ERRNO_HTTP = 21,
  LC_ERRNO_TRAP = 0x10000, /* not an errno of the ABI: the call must trap the module with the text in *err */
};

struct lc_datastore;
struct lc_tx;
struct lc_row_iter;

/* ---- schema as the rest of the server sees it; pointers stay valid until the next schema change is committed ---- */

struct lc_index_info {
  uint32_t index_id; struct lc_slice name, accessor; enum lc_index_kind kind; bool is_unique;
  uint32_t n_columns; const uint16_t *columns; const struct lc_type *key_type; /* product of the columns */
  uint32_t table_id;
};
struct lc_view_info { uint32_t view_id; bool is_anonymous; const struct lc_type *params; /* product */ };
struct lc_table_info {
  uint32_t table_id; struct lc_slice name, accessor;
  const struct lc_type *row_type;         /* resolved product with canonical column names */
  const struct lc_slice *column_accessors; /* one per column; the canonical name where there is no other */
  bool is_public, is_system, is_event, is_outbox;
  const struct lc_view_info *view;        /* not NULL: the backing table of a view (spec/05 §21.2): column 0 is arg_hash, its rows are not logged */
  int32_t primary_key;                    /* column or -1 */
  uint32_t n_indexes; const struct lc_index_info *indexes;
  bool has_schedule; struct lc_slice schedule_function; uint16_t schedule_at_column;
};
const struct lc_table_info *lc_datastore_table(const struct lc_datastore *ds, uint32_t table_id);            /* NULL: none */
const struct lc_table_info *lc_datastore_table_by_name(const struct lc_datastore *ds, struct lc_slice name); /* canonical, then accessor */
const struct lc_index_info *lc_datastore_index(const struct lc_datastore *ds, uint32_t index_id);
const struct lc_index_info *lc_datastore_index_by_name(const struct lc_datastore *ds, struct lc_slice name); /* canonical, then accessor */
/* Calls fn for every table, ascending by id. */
void lc_datastore_each_table(const struct lc_datastore *ds, void (*fn)(void *ctx, const struct lc_table_info *), void *ctx);
/* Increases with every committed schema change; caches of plans compare it. */
uint64_t lc_datastore_schema_version(const struct lc_datastore *ds);

/* ---- life ---- */

/* A datastore with the system tables of spec/06 §2 + spec/07 §9 and the rows describing them. env is borrowed. */
enum lc_status lc_datastore_new(const struct lc_env *env, struct lc_datastore **out, struct lc_error *err);
void lc_datastore_free(struct lc_datastore *ds);
/* What one transaction may change, in bytes of rows (those that go and those that come): a record of the log holds less than 4 GiB. At first LC_TX_MAX_BYTES; beyond it
 * insertions, updates and deletions fail with LC_ERRNO_TRAP and LC_LIMIT. */
#define LC_TX_MAX_BYTES ((uint64_t)3 << 30)
void lc_datastore_limit_transactions(struct lc_datastore *ds, uint64_t limit_bytes);
/* Since it was made: transactions, and the rows of what they changed in the end. */
struct lc_datastore_counts { uint64_t committed, rolled_back, rows_inserted, rows_deleted; };
struct lc_datastore_counts lc_datastore_counts(const struct lc_datastore *ds);
struct lc_store_stats lc_datastore_memory(const struct lc_datastore *ds);
/* What rows and indexes may take from the system; 0 (at first): no limit. What would take more fails as for lack of memory, and limit_was_hit says so once. Rollbacks are not limited. */
void lc_datastore_limit_memory(struct lc_datastore *ds, uint64_t limit_bytes);
void lc_datastore_lift_limit(struct lc_datastore *ds, bool lifted); /* for what has to go on: clients come and go */
bool lc_datastore_limit_was_hit(struct lc_datastore *ds);
/* Rows of a table and the memory of its trees. False: there is none. */
bool lc_datastore_table_size(const struct lc_datastore *ds, uint32_t table_id, uint64_t *rows, uint64_t *memory_bytes);
/* Seeds the skips of auto-increment (spec/07 §11: one value in 4,096 is followed by the next multiple of 4,096). 0, as at first: no skips. */
void lc_datastore_sequence_skips(struct lc_datastore *ds, uint64_t seed);
/* The record payload of offset 0 of a new durable database (spec/07 §12): the system rows as inserts, no inputs. */
enum lc_status lc_datastore_bootstrap_record(struct lc_datastore *ds, struct lc_buf *payload);
/* After replay: the record payload of the transaction that gives a database of an older version the system tables it lacks (spec/06 §3, spec/07 §9), those of 21 to 26 that
 * nothing read has described (2.8 and before described no system table at all). Left empty if there is none. LC_NOMEM. */
enum lc_status lc_datastore_missing_record(struct lc_datastore *ds, struct lc_buf *payload);
/* Replays the `n_tx` record payloads of one commit (spec/06 §10.3): applies them, keeps the catalog. Rows of built-in system
 * tables that exist already are no-ops; unknown system tables are created with a warning and kept. *consumed = bytes used. */
enum lc_status lc_datastore_replay(struct lc_datastore *ds, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err);
/* The same for one commit of many: rows of several commits go into their table together. lc_datastore_replay_settle puts what is left: to be called before
 * anything but a replay is done with the datastore. LC_NOMEM. */
enum lc_status lc_datastore_replay_more(struct lc_datastore *ds, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err);
enum lc_status lc_datastore_replay_settle(struct lc_datastore *ds, struct lc_error *err);

/* ---- transactions (spec/06 §4-§8, spec/07 §11) ---- */

struct lc_tx *lc_tx_begin(struct lc_datastore *ds); /* NULL: out of memory. Precondition: none is open */
void lc_tx_rollback(struct lc_tx *tx);

/* Inserts a row. generated (may be NULL): gets the auto-increment columns that were generated, concatenated in column order.
 * stored (may be NULL): the row as stored, valid until the transaction ends. A row equal to one present is success.
 * Errors: LC_ERRNO_NO_SUCH_TABLE, _BSATN_DECODE, _UNIQUE_EXISTS (text as spec/06 §4 in *err), _AUTO_INC_OVERFLOW, TRAP. */
int lc_tx_insert(struct lc_tx *tx, uint32_t table_id, struct lc_slice row, struct lc_buf *generated, struct lc_slice *stored, struct lc_error *err);
/* Replaces the row having the key of `row` in unique index index_id (spec/02 §5.4). */
int lc_tx_update(struct lc_tx *tx, uint32_t table_id, uint32_t index_id, struct lc_slice row, struct lc_buf *generated, struct lc_slice *stored, struct lc_error *err);
/* key: BSATN of the key columns, concatenated. *count = rows deleted. */
int lc_tx_delete_point(struct lc_tx *tx, uint32_t index_id, struct lc_slice key, uint32_t *count, struct lc_error *err);
int lc_tx_delete_range(struct lc_tx *tx, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, uint32_t *count, struct lc_error *err);
/* relation: BSATN array of rows. */
int lc_tx_delete_all_by_eq(struct lc_tx *tx, uint32_t table_id, struct lc_slice relation, uint32_t *count, struct lc_error *err);
/* Deletes exactly this row (all columns equal). *found tells whether it was there. */
int lc_tx_delete_row(struct lc_tx *tx, uint32_t table_id, struct lc_slice row, bool *found, struct lc_error *err);
int lc_tx_clear(struct lc_tx *tx, uint32_t table_id, uint64_t *count, struct lc_error *err);
int lc_tx_row_count(struct lc_tx *tx, uint32_t table_id, uint64_t *count);

/* Scans see the transaction as it was when they were opened; later writes do not affect them (spec/02 §5.2).
 * start/end: BSATN Bound (tag 0 incl, 1 excl, 2 unbounded) of column number prefix_elems (spec/02 §5.3); an empty `end` slice
 * means: `start` holds the point bound twice (the library's form is handled by the caller). Close with lc_row_iter_close. */
int lc_tx_scan(struct lc_tx *tx, uint32_t table_id, struct lc_row_iter **out);
int lc_tx_scan_point(struct lc_tx *tx, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err);
int lc_tx_scan_range(struct lc_tx *tx, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_row_iter **out, struct lc_error *err);
/* Next row, or data == NULL at the end. The slice is valid until the next call on this iterator. */
struct lc_slice lc_row_iter_next(struct lc_row_iter *it);
void lc_row_iter_close(struct lc_row_iter *it);

/* A run of rows of one size that lie at equal distances: row i is row_bytes bytes at rows + i * stride_bytes. */
struct lc_row_run { const uint8_t *rows; uint32_t n, stride_bytes, row_bytes; };
/* As lc_row_iter_next, but as many rows as lie together (often a whole leaf); false at the end. Valid until the next call on this iterator. */
bool lc_row_iter_run(struct lc_row_iter *it, struct lc_row_run *out);

/* ---- reads ---- */

struct lc_schema; /* a catalog as it was: immutable */
/* What to read. Made with only `ds` set it is the live state (also that of an open transaction), for the baton holder. Made by
 * lc_read_view_open it is a consistent state of the whole datastore that later transactions and schema changes do not touch: any thread may
 * read it, many at once. A plain value: copies stand for the same reference. */
struct lc_read_view { struct lc_datastore *ds; struct lc_schema *schema; struct lc_snapshot *snapshot; };
/* Baton holder, no transaction in progress (after lc_tx_commit is fine). Takes O(1) unless the schema has changed since the last one. LC_NOMEM. */
enum lc_status lc_read_view_open(struct lc_datastore *ds, struct lc_read_view *out);
/* One more reference (any thread). */
struct lc_read_view lc_read_view_ref(struct lc_read_view view);
/* Gives a reference back (any thread), after its iterators are closed and before lc_datastore_free. Table and index descriptions from the
 * view end with its last reference. Nothing to do for a live view. */
void lc_read_view_close(struct lc_read_view *view);

/* The catalog of a view, as the functions for datastores above. */
const struct lc_table_info *lc_view_table(struct lc_read_view view, uint32_t table_id);
const struct lc_table_info *lc_view_table_by_name(struct lc_read_view view, struct lc_slice name);
const struct lc_index_info *lc_view_index(struct lc_read_view view, uint32_t index_id);
const struct lc_index_info *lc_view_index_by_name(struct lc_read_view view, struct lc_slice name);
void lc_view_each_table(struct lc_read_view view, void (*fn)(void *ctx, const struct lc_table_info *), void *ctx);
uint64_t lc_view_schema_version(struct lc_read_view view);

/* Scans: as those of a transaction. An iterator belongs to one thread. */
int lc_view_scan(struct lc_read_view view, uint32_t table_id, struct lc_row_iter **out);
int lc_view_scan_point(struct lc_read_view view, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err);
int lc_view_scan_range(struct lc_read_view view, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_row_iter **out,
                       struct lc_error *err);
/* The row that has this key in a unique index (LC_ERRNO_INDEX_NOT_UNIQUE: it is not one), without an iterator; data == NULL: none. Valid as
 * long as the view, of a live one until the next change. */
int lc_view_find(struct lc_read_view view, uint32_t index_id, struct lc_slice key, struct lc_slice *row, struct lc_error *err);
uint64_t lc_view_row_count(struct lc_read_view view, uint32_t table_id); /* 0 also when there is no such table */

/* ---- whole states: what a snapshot is written from and a database recovered with ---- */

/* Rows of one table back to back, as in log records: BSATN without lengths. */
struct lc_row_block { const struct lc_table_info *table; uint64_t table_rows; /* of the whole table */ uint32_t n_rows; struct lc_slice rows; };
/* Gives all rows of an opened view to fn, table after table in ascending order of ids, so that the tables that describe the others come first; blocks of about
 * block_bytes (a larger row is a block of its own), valid during the call. Left out: tables without rows, and views' backing tables, whose rows are nowhere
 * logged. Any thread. Ends with what fn returns unless that is LC_OK; LC_NOMEM. */
enum lc_status lc_view_dump(struct lc_read_view view, size_t block_bytes, enum lc_status (*fn)(void *ctx, const struct lc_row_block *block, struct lc_error *err), void *ctx,
                            struct lc_error *err);

/* The other way: fills a datastore fresh from lc_datastore_new, which then has the same rows, ids, sequences and indexes; lc_datastore_replay goes on from there.
 * Rows of built-in system tables that exist already are no-ops. Constraints hold in what a dump gave: only what would break a tree is found out.
 * After an error the datastore can only be freed, once the restore has been aborted. */
struct lc_restore;
enum lc_status lc_datastore_restore_begin(struct lc_datastore *ds, struct lc_restore **out, struct lc_error *err);
/* n_rows rows of a table, which must be all of `rows`. A table's rows come in as many blocks as there are, in any order (that of lc_view_dump is the fastest),
 * one table after the other; all system tables before the first other one. LC_CORRUPT: bytes that are no rows, no such table, a table that comes twice or too
 * late, equal keys; LC_NOMEM. */
enum lc_status lc_datastore_restore_rows(struct lc_restore *r, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err);
/* Completes tables and indexes and ends the restore, on errors too. */
enum lc_status lc_datastore_restore_finish(struct lc_restore *r, struct lc_error *err);
void lc_datastore_restore_abort(struct lc_restore *r); /* NULL is allowed */

/* ---- commit: what changed ---- */

struct lc_table_delta {
  uint32_t table_id; const struct lc_table_info *table;
  uint32_t n_inserts, n_deletes; const struct lc_slice *inserts, *deletes; /* rows, net (spec/06 §8) */
  bool truncated;                          /* zero rows left by deletion, or dropped */
  bool is_ephemeral;                       /* not logged (views' backing tables) */
};
struct lc_tx_delta {
  uint32_t n_tables; struct lc_table_delta *tables; /* ascending by table id; only tables with net changes */
  bool schema_changed;
};
/* Makes the transaction's changes permanent in memory and gives its net effect; *delta is valid until lc_tx_delta_release,
 * which also ends the transaction's memory. Never fails (memory was taken while the changes were made). */
void lc_tx_commit(struct lc_tx *tx, const struct lc_tx_delta **delta);
void lc_tx_delta_release(struct lc_datastore *ds, const struct lc_tx_delta *delta);
/* Inputs section of a record (spec/06 §8.1). name.len == 0: no inputs. */
struct lc_tx_inputs { struct lc_slice name; struct lc_identity caller; struct lc_connection_id connection_id; int64_t timestamp_us; struct lc_slice args; };
/* What an open transaction has done so far: its tables with physical changes, and the rows of each in order (inserted and deleted alike, before netting).
 * lc_tx_touched: NULL for one that has none any more. */
uint32_t lc_tx_n_touched(const struct lc_tx *tx);
uint64_t lc_tx_record_max_bytes(const struct lc_tx *tx, const struct lc_tx_inputs *inputs); /* its record will not be longer */
const struct lc_table_info *lc_tx_touched(const struct lc_tx *tx, uint32_t i, uint32_t *n_rows);
struct lc_slice lc_tx_touched_row(const struct lc_tx *tx, uint32_t i, uint32_t row);
/* True if a commit with this delta consumes an offset (spec/06 §8). */
bool lc_tx_delta_is_logged(const struct lc_tx_delta *delta, const struct lc_tx_inputs *inputs);
/* Appends the record payload (spec/06 §10.3). */
void lc_tx_record_encode(struct lc_buf *out, const struct lc_tx_delta *delta, const struct lc_tx_inputs *inputs);

/* ---- catalog changes inside a transaction ---- */

struct lc_module_facts { struct lc_identity database, owner; uint8_t program_kind; struct lc_hash program_hash; struct lc_slice program_bytes; };
/* First publish: creates all tables, views, RLS rules and the st_module row, each kind in order of names (spec/06 §3, §9.1). */
enum lc_status lc_schema_create(struct lc_tx *tx, const struct lc_module_def *def, const struct lc_module_facts *facts, struct lc_error *err);
/* Update of a published module: plans and runs the migration from `old`, the stored module's definition, to `def`. LC_UNSUPPORTED: it needs a
 * manual one; *err has all reasons, a line each. Other errors: the migration failed. On any the caller rolls back. */
enum lc_status lc_schema_update(struct lc_tx *tx, const struct lc_module_def *old, const struct lc_module_def *def, const struct lc_module_facts *facts, struct lc_error *err);

/* ---- migrations (spec/06 §15, spec/07 §10) ---- */

/* In the order in which steps are run. */
enum lc_migration_kind {
  LC_STEP_REMOVE_INDEX, LC_STEP_REMOVE_CONSTRAINT, LC_STEP_REMOVE_SEQUENCE, LC_STEP_REMOVE_SCHEDULE, LC_STEP_REMOVE_VIEW, LC_STEP_REMOVE_RLS, LC_STEP_REMOVE_TABLE,
  LC_STEP_CHANGE_COLUMNS, LC_STEP_RESCHEMA_EVENT_TABLE, LC_STEP_ADD_COLUMNS, LC_STEP_CHANGE_INDEX_SOURCE_NAME, LC_STEP_CHANGE_TABLE_ACCESSOR, LC_STEP_CHANGE_COLUMN_ACCESSOR,
  LC_STEP_ADD_TABLE, LC_STEP_ADD_INDEX, LC_STEP_ADD_CONSTRAINT, LC_STEP_ADD_SEQUENCE, LC_STEP_ADD_SCHEDULE, LC_STEP_ADD_VIEW, LC_STEP_ADD_RLS, LC_STEP_CHANGE_ACCESS,
  LC_STEP_CHANGE_PRIMARY_KEY, LC_STEP_CHANGE_OUTBOX, LC_STEP_UPDATE_VIEW, LC_STEP_DISCONNECT_ALL_USERS,
};
/* What a step is about: the definitions before and after (NULL where there is none) and the index, constraint or sequence in them. */
struct lc_migration_step {
  enum lc_migration_kind kind;
  const struct lc_table_def *old_table, *new_table;
  const struct lc_view_def *old_view, *new_view;
  uint32_t item;              /* of old_table for removals, else of new_table; a column for CHANGE_COLUMN_ACCESSOR; position of an RLS rule */
  struct lc_slice name, mount; /* what steps of a kind are ordered by */
};
struct lc_migration_plan {
  struct lc_arena arena;      /* owns the lists */
  const struct lc_module_def *old, *new; /* borrowed: must outlive the plan */
  uint32_t n_errors; struct lc_slice *errors; /* not empty: a manual migration is required */
  uint32_t n_steps; struct lc_migration_step *steps;
  bool breaks_clients;
  bool rls_changed;           /* the set of rules differs */
};
enum lc_plan_style { LC_PLAN_NO_COLOR, LC_PLAN_ANSI_COLOR };
/* Compares two definitions. LC_OK also with errors in the plan; LC_NOMEM. Any thread. */
enum lc_status lc_migration_plan_new(const struct lc_module_def *old, const struct lc_module_def *new_def, struct lc_migration_plan **out);
void lc_migration_plan_free(struct lc_migration_plan *plan);
/* Appends the plan as text (spec/06 §15.5). */
enum lc_status lc_migration_plan_print(const struct lc_migration_plan *plan, enum lc_plan_style style, struct lc_buf *out);
/* Runs a plan without errors and replaces the st_module row. log (may be NULL) gets each line for the module log. On failure roll back. */
enum lc_status lc_migration_run(struct lc_tx *tx, const struct lc_migration_plan *plan, const struct lc_module_facts *facts, void (*log)(void *ctx, const char *line), void *ctx,
                                struct lc_error *err);

/* After a restore or a replay: do the system tables describe tables that can be, and one module at most (spec/06 §2)? LC_CORRUPT: what they do not, and why. */
enum lc_status lc_datastore_check_catalog(const struct lc_datastore *ds, struct lc_error *err);
/* The st_module row; program_bytes points into the table (valid until the next change). LC_NOT_FOUND if there is none. */
enum lc_status lc_datastore_module(struct lc_datastore *ds, struct lc_module_facts *out);

/* st_client and st_connection_credentials (spec/06 §9.2; a caller without JWT leaves no credentials row, spec/07 §14). */
enum lc_status lc_tx_client_add(struct lc_tx *tx, const struct lc_identity *id, const struct lc_connection_id *conn, struct lc_slice jwt_payload, struct lc_error *err);
enum lc_status lc_tx_client_remove(struct lc_tx *tx, const struct lc_identity *id, const struct lc_connection_id *conn, bool *was_there, struct lc_error *err);
/* Payload JSON of a connection into *out; false if none. */
bool lc_tx_client_jwt(struct lc_tx *tx, const struct lc_connection_id *conn, struct lc_buf *out);
/* A caller that has no row: the one whose payload lc_tx_client_jwt gives for conn, until the next call. conn NULL: none; jwt_payload is borrowed. */
void lc_datastore_set_visitor(struct lc_datastore *ds, const struct lc_connection_id *conn, struct lc_slice jwt_payload);

/* Fixed system table ids (spec/06 §2, spec/07 §9). */
enum { LC_ST_TABLE = 1, LC_ST_COLUMN, LC_ST_SEQUENCE, LC_ST_INDEX, LC_ST_CONSTRAINT, LC_ST_MODULE, LC_ST_CLIENT, LC_ST_VAR, LC_ST_SCHEDULED,
       LC_ST_ROW_LEVEL_SECURITY, LC_ST_CONNECTION_CREDENTIALS, LC_ST_VIEW, LC_ST_VIEW_PARAM, LC_ST_VIEW_COLUMN, LC_ST_VIEW_SUB, LC_ST_VIEW_ARG,
       LC_ST_EVENT_TABLE, LC_ST_TABLE_ACCESSOR, LC_ST_INDEX_ACCESSOR, LC_ST_COLUMN_ACCESSOR, LC_ST_ENV, LC_ST_OUTBOUND_STREAM,
       LC_ST_OUTBOUND_MSG, LC_ST_INBOUND_STREAM, LC_ST_INBOUND_MSG, LC_ST_OUTBOX };
#define LC_FIRST_USER_ID 4096u

#endif
