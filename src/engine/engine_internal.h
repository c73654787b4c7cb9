/* Inside of engine/: tables, the datastore, the open transaction. Everything belongs to the baton holder. */
#ifndef LC_ENGINE_INTERNAL_H
#define LC_ENGINE_INTERNAL_H
#include "engine.h"

enum { MAX_INDEXES = 256, MAX_SEQUENCES = 64 };

struct index {
  struct lc_tree tree;        /* entries: index columns, then cluster key; unused when is_cluster */
  bool is_cluster;            /* the rows' own tree serves it */
  const struct lc_type *entry_type;
};
struct sequence { uint32_t sequence_id; uint16_t column; };

/* Rows lie in `rows`, clustered by a unique index's columns; without one each row gets a hidden number in front of it
 * (entry = u64 number, row) and `by_hash` = (row hash, number) keeps the table a set. */
struct table {
  struct lc_table_info info;  /* arrays in `arena` */
  struct lc_arena arena;
  struct lc_tree rows, by_hash;
  bool numbered;
  uint64_t next_number;
  struct index *indexes;      /* as info.indexes */
  uint32_t n_sequences;
  struct sequence *sequences; /* ascending by column */
  bool is_ephemeral;
  /* in the open transaction */
  struct net *net; uint32_t n_net, cap_net; /* net changes, in order of first touch */
  uint32_t *net_slots, net_mask;            /* open addressing over net once it is large */
  bool touched;
};
struct net { struct lc_slice row; int8_t change; uint64_t hash; }; /* +1 inserted, -1 deleted, 0 cancelled */

struct undo { struct table *table; struct lc_slice row; bool was_insert; };

/* A scan: what has been fetched, and when that is not all, a cursor on a snapshot from which the rest comes piece by piece. */
struct lc_row_iter {
  struct lc_row_iter *next_free;
  struct lc_datastore *ds;
  struct lc_buf rows; size_t at;
  struct lc_snapshot *snapshot; /* NULL: all is in `rows` */
  struct table *table; int32_t index; /* index to follow; -1: the table's own order */
  struct lc_cursor cursor;
  struct lc_buf high; uint32_t high_parts; bool high_excluded;
};

struct lc_tx {
  struct lc_datastore *ds;
  bool open;
  struct lc_arena arena;
  struct undo *undo; uint32_t n_undo, cap_undo; /* kept over transactions */
  struct table **touched; uint32_t n_touched, cap_touched;
  uint32_t *schema_tables; uint32_t n_schema, cap_schema; /* ids of tables created or altered */
  struct lc_tx_delta delta;
};

struct index_ref { struct table *table; uint32_t at; };
struct names { struct name_slot *slots; uint64_t mask; }; /* names.c */
struct lc_datastore {
  const struct lc_env *env;
  struct lc_store *store;    /* of all trees */
  struct table **tables; uint32_t n_tables, cap_tables; /* ascending by id */
  struct index_ref *index_refs; uint32_t n_index_refs; /* by index id; table NULL: none */
  uint64_t schema_version;
  struct names names[2];     /* of tables, of indexes; made when first asked for */
  struct lc_tx tx;
  struct lc_row_iter *free_iters;
  struct lc_buf key, entry;  /* scratch */
};

/* catalog.c */
struct table *ds_table(const struct lc_datastore *ds, uint32_t table_id);
/* Builds or rebuilds a table from the st_ rows; removes it if they are gone. */
enum lc_status catalog_refresh(struct lc_datastore *ds, uint32_t table_id, struct lc_error *err);
enum lc_status catalog_bootstrap(struct lc_datastore *ds, struct lc_error *err);
void table_free(struct table *t);
/* Marks a table's schema as changed by the transaction, so that rollback looks again. */
bool tx_note_schema(struct lc_tx *tx, uint32_t table_id);

/* names.c */
void names_forget(struct lc_datastore *ds); /* the catalog changes */

/* rows.c: physical changes, no transaction, no constraints */
bool rows_insert(struct table *t, struct lc_slice row, bool replace); /* false: out of memory. replace: an existing row of that key goes */
bool rows_delete(struct table *t, struct lc_slice row);               /* exactly this row; false: not there */
struct lc_slice rows_find_equal(struct table *t, struct lc_slice row); /* stored row equal in all bytes, or NULL */
struct lc_slice row_of_entry(const struct table *t, struct lc_slice entry);
void index_entry(const struct table *t, const struct index *ix, const struct lc_index_info *info, struct lc_slice row, const uint8_t *cluster_key, size_t cluster_len, struct lc_buf *out);
/* First row whose first n_parts index columns equal key; except (may be NULL data) is passed over. */
struct lc_slice index_find(struct table *t, uint32_t at, const uint8_t *key, uint32_t n_parts);
enum lc_status index_build(struct table *t, uint32_t at);

#endif
