/* Inside of engine/: tables, the datastore, the open transaction. Everything belongs to the baton holder. */
#ifndef LC_ENGINE_INTERNAL_H
#define LC_ENGINE_INTERNAL_H
#include "engine.h"

enum { MAX_INDEXES = 256, MAX_SEQUENCES = 64, ROW_PLACE_BYTES = 8 };

struct index {
  struct lc_tree tree;        /* entries: index columns, then cluster key; unused when is_cluster */
  bool is_cluster;            /* the rows' own tree serves it */
};
/* An auto-increment column. noted: the sequence's row as the open transaction has written it (transaction arena), if note_epoch is the present one. */
struct sequence { uint32_t sequence_id; uint16_t column; uint64_t note_epoch; uint8_t *noted; size_t noted_len; };

/* What does not change about a table until its schema does; shared by the table, read views and scans (any thread), freed with the last
 * reference. The trees are descriptions for reading a snapshot with: their live roots are the table's own. */
struct shape {
  atomic_uint refs;
  struct lc_arena arena;      /* owns everything below and the arrays of `info` */
  struct lc_table_info info;
  bool numbered;
  struct lc_tree rows, *indexes;
  bool *is_cluster;
  const char *fault;          /* what of its catalog rows cannot be, and was left out; NULL: nothing */
};

/* Rows lie in `rows`, clustered by a unique index's columns; without one each row gets a hidden number in front of it
 * (entry = u64 number, row) and `by_hash` = (row hash, number) keeps the table a set. */
struct table {
  struct lc_datastore *ds;
  struct lc_table_info info;  /* as in the shape */
  struct shape *shape;
  struct lc_tree rows, by_hash;
  bool numbered;
  uint64_t next_number;
  struct index *indexes;      /* as info.indexes */
  uint32_t n_sequences;
  struct sequence *sequences; /* ascending by column */
  bool any_bytes;             /* bytes of the right length are a row */
  bool simple;                /* clustered by one column at a constant offset, no other index */
  bool is_new;                /* made by the open transaction */
  /* in the open transaction: physical changes in order, rows in its arena; a deletion has DELETED set in its length, and in a numbered table the row's place in
   * front of it */
  struct lc_slice *changes; uint32_t n_changes, cap_changes, n_deletes;
  struct lc_slice *net; uint32_t cap_net, *net_slots; /* room for the net effect of cap_net changes, once both kinds have occurred */
  bool touched;
};
#define DELETED ((size_t)1 << 63)
/* Rows and keys of empty products have no bytes, but their address counts: NULL means none. */
static inline struct lc_slice somewhere(struct lc_slice s) {
  static const uint8_t no_bytes[1];
  return s.data ? s : lc_slice(no_bytes, 0);
}
static inline struct lc_slice change_row(struct lc_slice c) { return lc_slice(c.data, c.len & ~DELETED); }

/* What a transaction did to the catalog; `old`: the content before, which had n_changes row changes. */
enum catalog_change_kind { TABLE_CREATED, TABLE_ALTERED, TABLE_DROPPED };
struct catalog_change { enum catalog_change_kind kind; struct table *table; struct table old; uint32_t n_changes; };

/* A scan: what has been fetched, and when that is not all, a cursor on a snapshot for the rest. */
struct lc_row_iter {
  struct lc_row_iter *next_free;
  struct lc_datastore *ds;      /* where it goes when closed; NULL: of a read view */
  struct lc_buf rows; size_t at;
  struct lc_snapshot *snapshot; /* NULL: all is in `rows`. Comes with a reference on the shape */
  struct shape *shape; int32_t index; /* index to follow; -1: the table's own order */
  struct lc_cursor cursor;
  struct lc_buf high; uint32_t high_parts; bool high_excluded;
};
/* Bounds of a scan over the first columns of an index: low key of low_parts parts (excluded or not), high likewise. */
struct scan_bounds { const uint8_t *low, *high; uint32_t low_parts, high_parts; bool low_excluded, high_excluded; };

struct lc_tx {
  struct lc_datastore *ds;
  bool open, committed;       /* committed: not yet released */
  uint64_t note_epoch;        /* of sequences */
  uint64_t n_bytes;           /* of the rows that have changed, as they were and as they became */
  struct lc_arena arena;
  struct table **touched; uint32_t n_touched, cap_touched; /* an entry may be NULL */
  struct catalog_change *catalog; uint32_t n_catalog, cap_catalog;
  struct lc_table_delta *deltas; uint32_t cap_deltas;      /* room for one of each touched and dropped table */
  struct lc_tx_delta delta;
};

struct index_ref { struct table *table; uint32_t at; };
struct names { struct name_slot *slots; uint64_t mask; }; /* names.c */
struct schema_index { uint32_t index_id, at; struct shape *shape; };
struct lc_schema {
  atomic_uint refs;
  uint64_t version;
  uint32_t n_shapes; struct shape **shapes;             /* ascending by table id; a reference on each */
  uint32_t n_indexes; struct schema_index *indexes;     /* ascending by id */
  struct names names[2];
};
struct lc_datastore {
  const struct lc_env *env;
  struct lc_store *store;    /* of all trees */
  struct table **tables; uint32_t n_tables, cap_tables; /* ascending by id */
  struct index_ref *index_refs; uint32_t n_index_refs; /* by index id; table NULL: none */
  uint64_t schema_version;
  struct names names[2];     /* of tables, of indexes; made when first asked for */
  struct lc_schema *schema;  /* of the present catalog, for read views; NULL: not made yet */
  struct lc_tx tx;
  uint64_t tx_limit_bytes;   /* of what one transaction changes */
  struct lc_datastore_counts counts;
  uint32_t *noted; uint32_t n_noted, cap_noted; /* replay: tables whose catalog rows have changed */
  uint64_t described;        /* system tables whose st_table rows came from the log or a snapshot, a bit each */
  struct table *put_table; uint32_t n_puts; uint8_t *puts; /* replay: packed rows of a table that are still to be put */
  uint64_t random;           /* state of the generator for sequences; 0: no skips */
  struct lc_row_iter *free_iters;
  struct { bool is_there; struct lc_connection_id conn; struct lc_slice jwt_payload; } visitor; /* a caller without a row */
  struct lc_buf key, entry, old; /* scratch */
};

/* catalog.c */
struct shape *shape_new(void); /* one reference; NULL: out of memory */
const struct lc_type *product_of_columns(struct lc_arena *a, const struct lc_type *row, uint32_t n, const uint16_t *columns);
/* Builds or rebuilds a table from the st_ rows; removes it if they are gone. In a transaction this can be undone. */
enum lc_status catalog_refresh(struct lc_datastore *ds, uint32_t table_id, struct lc_error *err);
void catalog_described(struct lc_datastore *ds, struct lc_slice st_table_row); /* it was read from the log or a snapshot */
/* The table that `shape` describes (its reference passes) takes its place in the catalog. */
enum lc_status catalog_place(struct lc_datastore *ds, struct shape *shape, uint32_t n_sequences, const struct sequence *sequences, struct lc_error *err);
void catalog_rollback(struct lc_tx *tx);
void catalog_end(struct lc_tx *tx);
void table_free(struct table *t);

/* bootstrap.c */
enum lc_status catalog_bootstrap(struct lc_datastore *ds, struct lc_error *err);

/* tx.c */
void tx_undo_rows(struct table *t, uint32_t keep); /* undoes row changes until `keep` are left */
void tx_forget_table(struct lc_tx *tx, struct table *t);
/* Room for so many more changes of t; to be called before they are made. false: out of memory. */
/* Room in the arena for a row that changes; counts it. NULL: *err says why. */
uint8_t *tx_take_bytes(struct lc_tx *tx, size_t len, struct lc_error *err);
bool tx_reserve(struct lc_tx *tx, struct table *t, uint32_t inserts, uint32_t deletes);
void tx_note(struct table *t, struct lc_slice row, bool is_insert); /* a change has been made; `row` in the arena */
bool tx_reserve_deltas(struct lc_tx *tx, uint32_t more);
int unique_violation(const struct table *t, uint32_t at, struct lc_slice row, struct lc_error *err);
int tx_insert_row(struct lc_tx *tx, struct table *t, struct lc_slice row, struct lc_error *err); /* `row` in the arena, validated */
int tx_delete_row(struct lc_tx *tx, struct table *t, struct lc_slice stored, struct lc_error *err);

/* describe.c: rows of the system tables that describe tables, views and rules */
enum lc_status st_put(struct lc_tx *tx, uint32_t st_id, struct lc_buf *b, uint32_t *generated, struct lc_error *err); /* inserts the row in *b and clears it; *generated: its id */
/* Deletes the rows whose column has exactly these bytes. */
enum lc_status st_erase(struct lc_tx *tx, uint32_t st_id, uint32_t column, struct lc_slice bytes, struct lc_error *err);
enum lc_status st_erase_id(struct lc_tx *tx, uint32_t st_id, uint32_t column, uint32_t id, struct lc_error *err);
enum lc_status st_erase_name(struct lc_tx *tx, uint32_t st_id, uint32_t column, struct lc_slice name, struct lc_error *err);
enum lc_status describe_table(struct lc_tx *tx, const struct lc_module_def *def, const struct lc_table_def *t, struct lc_error *err);
enum lc_status describe_view(struct lc_tx *tx, const struct lc_view_def *v, struct lc_error *err);
enum lc_status describe_rls(struct lc_tx *tx, struct lc_slice sql, struct lc_error *err);
enum lc_status describe_module(struct lc_tx *tx, const struct lc_module_facts *f, struct lc_error *err); /* in place of the row that is there */
enum lc_status describe_index(struct lc_tx *tx, uint32_t table_id, const struct lc_index_def *x, struct lc_error *err);
enum lc_status describe_constraint(struct lc_tx *tx, uint32_t table_id, const struct lc_constraint_def *c, struct lc_error *err);
enum lc_status describe_sequence(struct lc_tx *tx, uint32_t table_id, const struct lc_sequence_def *q, const uint8_t allocated[16], struct lc_error *err); /* allocated NULL: 1 */
enum lc_status describe_schedule(struct lc_tx *tx, uint32_t table_id, const struct lc_table_def *t, struct lc_error *err);
enum lc_status describe_outbox(struct lc_tx *tx, uint32_t table_id, const struct lc_module_def *def, const struct lc_outbox_def *o, struct lc_error *err);
enum lc_status describe_columns(struct lc_tx *tx, uint32_t table_id, struct lc_slice table, uint32_t from, uint32_t n, const struct lc_column_def *columns, struct lc_error *err); /* and accessors */
enum lc_status describe_st_table(struct lc_tx *tx, uint32_t *id, struct lc_slice name, bool is_public, int32_t primary_key, struct lc_error *err); /* *id 0: a new one */
/* Deletes everything that describes a table, and the table. */
enum lc_status undescribe_table(struct lc_tx *tx, const struct lc_table_info *t, struct lc_error *err);
const struct lc_outbox_def *outbox_of(const struct lc_module_def *def, struct lc_slice table);
int compare_names(struct lc_slice mount_a, struct lc_slice a, struct lc_slice mount_b, struct lc_slice b); /* order of creation and of steps */

/* migrate_types.c */
struct type_layout { uint64_t size, align; };
struct type_layout type_layout_of(const struct lc_type *t); /* of a value in the reference's memory, by which it judges changes of sums (spec/01 §9.3) */
struct type_change { void (*fault)(void *ctx, bool nested, const struct lc_type *from, const struct lc_type *to, const char *what); void *ctx; };
/* True if the types differ; faults that forbid the change are reported. */
bool type_change_check(const struct type_change *c, const struct lc_type *from, const struct lc_type *to, bool nested);

/* sequence.c */
/* Replaces zero auto-increment columns of a row; the values taken are appended to *generated (may be NULL). */
int sequences_fill(struct lc_tx *tx, struct table *t, uint8_t *row, struct lc_buf *generated, struct lc_error *err);

/* view.c */
struct table *ds_table(const struct lc_datastore *ds, uint32_t table_id);
void shape_ref(struct shape *s);
void shape_unref(struct shape *s); /* any thread */

/* names.c */
enum { NAMES_OF_TABLES, NAMES_OF_INDEXES };
bool names_build(struct names *n, int kind, uint32_t n_tables, const struct lc_table_info *const *tables); /* false: out of memory */
const void *names_find(const struct names *n, struct lc_slice name);
void names_free(struct names *n);

void schema_forget(struct lc_datastore *ds); /* the catalog changes: drops what was derived from it */
struct shape *schema_shape(const struct lc_schema *s, uint32_t table_id);
struct shape *schema_index(const struct lc_schema *s, uint32_t index_id, uint32_t *at);

/* rows.c: physical changes, no transaction, no constraints */
bool rows_insert(struct table *t, struct lc_slice row);                /* false: out of memory, nothing changed */
/* Deletes exactly this row; ABSENT: not there, NOMEM: nothing has changed. place (may be NULL): gets ROW_PLACE_BYTES that tell rows_restore where it lay. */
enum lc_tree_result rows_delete(struct table *t, struct lc_slice row, uint8_t *place);
bool rows_restore(struct table *t, struct lc_slice row, const uint8_t *place); /* undoes that, also for index trees that a schema change has set aside; false: out of memory */
bool rows_put(struct table *t, struct lc_slice row);                   /* replay: inserts, or replaces the row that has its cluster key; false: out of memory */
/* Puts `row` where `old`, a copy of the stored row with the same cluster key, lies. false: out of memory, nothing changed. Not for numbered tables */
bool rows_replace(struct table *t, struct lc_slice old, struct lc_slice row);
void rows_settle(struct table *t);                                     /* the transaction that changed it has ended */
void rows_undo_needs(const struct table *t, uint32_t n_changes, struct lc_nodes *sum); /* adds the copies that undoing so many changes may make */
struct lc_slice rows_find_equal(struct table *t, struct lc_slice row); /* stored row equal in all bytes, or NULL */
struct lc_slice row_of_entry(const struct table *t, struct lc_slice entry);
/* The entry in `rows` of the first entry of `index` (which may be `rows`) whose first n_parts columns equal key; NULL data: none. snapshot NULL: live trees. */
struct lc_slice trees_find(const struct lc_tree *rows, const struct lc_tree *index, const struct lc_snapshot *snapshot, uint32_t n_parts, const uint8_t *key);
/* First row whose index columns equal key. */
struct lc_slice index_find(struct table *t, uint32_t at, const uint8_t *key);
enum lc_status index_build(struct table *t, uint32_t at); /* over the rows that are there; on failure its tree is empty */
enum lc_tree_result rows_hash_build(struct table *t);     /* the same for by_hash. DUPLICATE: two rows are equal */

#endif
