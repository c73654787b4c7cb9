/* Inside of live/: queries, sets, subscribers, and the index of who is interested in which changed rows. */
#ifndef LC_LIVE_INTERNAL_H
#define LC_LIVE_INTERNAL_H
#include "live.h"

struct query;
struct rows { struct lc_slice *rows; uint32_t n, cap; };

/* A relation of a query: what a changed row of its table must be like to concern the query. */
struct occurrence {
  struct query *query;
  uint32_t table_id; uint16_t fragment, relation;
  struct lc_search search;            /* values lie in the plan */
  uint64_t value_hash;
  struct occurrence *next;            /* in a list or bucket */
  struct occurrence *left, *right, *widest; uint32_t priority; /* intervals: a treap by low bound; widest: greatest high bound below */
  /* of the commit being evaluated: valid while stamp is its number */
  uint64_t stamp;
  struct rows inserts, deletes;
};

/* What one fragment of a query contributes to an update. */
struct part { struct lc_row_list inserts, deletes; struct lc_buf encoded; struct lc_query_delta delta; bool is_hit; };
struct query {
  struct lc_plan *plan;               /* NULL: it does not compile any more (error says why) */
  char *error;
  struct lc_slice sql;                /* owned */
  struct lc_sql_caller caller;        /* to compile again */
  struct link *links;                 /* of all sets that hold it */
  struct query *key_next; uint64_t key_hash; /* in the key buckets */
  uint32_t n_parts; struct part *parts;
  uint32_t n_occurrences; struct occurrence *occurrences;
  uint32_t n_hit_parts;
  uint64_t stamp; bool lacks_memory; struct query *hit_next; /* of the commit being evaluated, as above */
};
struct link { struct query *query; struct set *set; struct link *query_prev, *query_next; };
struct set { struct subscriber *subscriber; uint32_t id; uint32_t n; struct link *links; struct set *next; uint32_t n_hits; bool has_failed; };
struct subscriber { void *client; struct set *sets; struct subscriber *bucket_next; bool is_hit; struct subscriber *hit_next; };

/* interest.c */
struct column_interest {
  uint16_t column; const struct lc_type *type;
  struct occurrence **buckets; uint32_t mask, n_values;
  struct occurrence *intervals;
};
struct table_interest { uint32_t table_id, n_columns, n_occurrences; struct column_interest *columns; struct occurrence *any; struct table_interest *next; };
struct interest { struct table_interest *tables; };
bool interest_add(struct interest *in, struct occurrence *o); /* false: out of memory */
void interest_remove(struct interest *in, struct occurrence *o);
struct table_interest *interest_of(const struct interest *in, uint32_t table_id);
/* Calls hit for each occurrence that the row may concern; may name some that it does not. */
void interest_match(struct table_interest *t, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx);
void interest_free(struct interest *in);

struct lc_live {
  struct lc_datastore *ds;
  uint64_t schema_version;
  struct query **by_key; uint32_t n_queries, n_buckets;
  struct interest interest;
  struct subscriber **subscribers; uint32_t n_subscribers, n_subscriber_buckets;
  struct lc_query_rows *rows; uint32_t cap_rows; struct lc_buf rows_bytes; /* answer of the last call */
  uint64_t stamp;                     /* of the last evaluation */
  struct lc_arena arena;              /* of an evaluation */
};
/* live.c */
void live_follow_schema(struct lc_live *l);
void live_set_free(struct lc_live *l, struct set *s); /* out of its subscriber's list already */
void live_drop_empty_subscriber(struct lc_live *l, struct subscriber *s);
#endif
