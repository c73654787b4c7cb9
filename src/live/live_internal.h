/* Inside of live/: queries, sets, subscribers, and the index of who is interested in which changed rows. */
#ifndef LC_LIVE_INTERNAL_H
#define LC_LIVE_INTERNAL_H
#include "live.h"

struct query;
struct rows { struct lc_slice *rows; uint32_t n, cap; };

/* A relation of a query: what a changed row of its table must be like to concern the query. The first line of memory is what a commit touches. */
struct occurrence {
  struct occurrence *next, **back;    /* in a list: of equal values, or of those that ask nothing */
  struct query *query;
  uint64_t stamp;                     /* of the commit being evaluated: inserts and deletes are valid while it is its number */
  struct rows inserts, deletes;
  uint32_t table_id; uint16_t fragment, relation;
  bool is_complete;                   /* a row for which the index names it fulfils its conditions */
  /* where it is in the index (interest.c) */
  struct edge *edge; struct group *group;
  struct lc_slice value; uint64_t value_hash; /* value: owned */
  struct box_node *leaf;
};

/* A fragment of a query, and what it contributes to an update. */
struct part { struct occurrence *occurrences; uint32_t n_relations; };
struct part_delta { struct lc_query_delta delta; struct part_delta *next; };
struct query {
  struct occurrence only; struct part only_part; /* of a query of one relation: beside it, so that one look at the index brings all that a commit touches into the cache */
  uint64_t stamp; struct query *hit_next; struct part_delta *deltas; uint32_t n_deltas; bool lacks_memory; /* of the commit being evaluated, as above */
  struct link *links;                 /* of all sets that hold it */
  const struct lc_table_info *table;  /* whose rows it returns */
  struct lc_plan *plan;               /* NULL: broken, it does not compile any more (error says why; NULL: no memory) */
  uint32_t n_parts, n_occurrences; struct part *parts; struct occurrence *occurrences; /* those above, or in one piece of memory owned by occurrences */
  bool is_broken; char *error;
  struct lc_slice sql;                /* owned */
  struct lc_sql_caller caller;        /* to compile again */
  struct query *key_next; uint64_t key_hash; /* in the key buckets */
};
/* hits, hit_next, hit_sets: of the commit being evaluated, what has changed; empty between. */
struct link { struct query *query; struct set *set; struct link *query_prev, *query_next, *hit_next; uint32_t copies; /* times that the set names the query */ };
struct set { struct subscriber *subscriber; uint64_t id; bool is_apart, is_subscribed; uint32_t n; struct link *links; struct set *next; struct link *hits; uint32_t n_hits; struct set *hit_next; bool has_failed; };
struct subscriber { void *client; struct set *sets; struct subscriber *bucket_next; struct set *hit_sets; bool is_hit; struct subscriber *hit_next; };

/* row_list.c: BsatnRowLists (spec/03 §5): FixedSize while all rows have one length other than 0, else RowOffsets. */
struct row_list { struct lc_buf rows, offsets; uint32_t n_rows; uint32_t fixed_size_bytes; bool variable; };
void row_list_add(struct row_list *l, struct lc_slice row);
void row_list_encode(const struct row_list *l, struct lc_buf *out);
void row_list_free(struct row_list *l);
/* The list of n rows without their first `skip` bytes, in the arena. data NULL: out of memory. */
struct lc_slice row_list_of(struct lc_arena *arena, const struct lc_slice *rows, uint32_t n, size_t skip);

/* answer.c: clear, add the rows of plans, finish. */
void answer_clear(struct lc_live_answer *a);
enum lc_status answer_add(struct lc_live_answer *a, const struct lc_plan *plan, struct lc_read_view view, uint32_t flags, const atomic_bool *cancel, struct lc_error *err); /* cancel: may be NULL */
void answer_finish(struct lc_live_answer *a);

/* boxes.c */
struct box_node;
struct boxes { uint32_t n_dims; struct lc_key_spec *specs[LC_SEARCH_MAX_INTERVALS]; struct box_node *root; uint32_t n_occurrences; };
bool boxes_init(struct boxes *b, const struct lc_type *row_type, uint32_t n_dims, const uint16_t *columns); /* false: out of memory */
void boxes_free(struct boxes *b); /* not the occurrences */
bool boxes_add(struct boxes *b, struct occurrence *o, const struct lc_search *s); /* s: intervals of these columns. False: out of memory */
void boxes_remove(struct boxes *b, struct occurrence *o);
void boxes_match(const struct boxes *b, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx);
void boxes_every(const struct boxes *b, void (*hit)(void *ctx, struct occurrence *o), void *ctx);

/* interest.c */
struct group;
struct table_interest { uint32_t table_id, n_occurrences; struct group *groups; struct edge *edges; struct occurrence *any; struct table_interest *next; };
/* Occurrences that only ask something of the row they are joined with: partners is searched with the rows of the partner table whose partner_column equals
 * the changed row's column. */
struct edge {
  struct edge *next;
  uint16_t column, partner_column; uint32_t index_id; const struct lc_table_info *partner;
  struct table_interest partners;
  uint64_t stamp; struct deleted *deleted; uint32_t n_deleted; bool asks_all; /* evaluate.c, of the commit being evaluated */
};
struct interest { struct table_interest *tables; };
/* s: what o asks of its rows; table: of them, not needed for LC_SEARCH_ANY; edge: may be NULL. False: out of memory. */
bool interest_add(struct interest *in, struct occurrence *o, const struct lc_table_info *table, const struct lc_search *s, const struct lc_edge *edge);
void interest_remove(struct interest *in, struct occurrence *o);
struct table_interest *interest_of(const struct interest *in, uint32_t table_id);
/* Rows of a commit that will be matched: what is looked up for them comes into the cache meanwhile. First all with step 0, then all with step 1. */
void interest_prefetch(const struct table_interest *t, const struct lc_type *row_type, struct lc_slice row, unsigned step);
/* Calls hit for each occurrence that the row may concern, edges left out; may name some that it does not. */
void interest_match(const struct table_interest *t, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx);
void interest_every(const struct table_interest *t, void (*hit)(void *ctx, struct occurrence *o), void *ctx); /* all, edges left out */
struct lc_slice interest_column(const struct lc_type *row_type, struct lc_slice row, uint16_t column); /* BSATN of one column */
void interest_free(struct interest *in);

struct lc_live {
  struct lc_datastore *ds;
  uint64_t schema_version;
  struct query **by_key; uint32_t n_queries, n_buckets;
  struct interest interest;
  struct subscriber **subscribers; uint32_t n_subscribers, n_subscriber_buckets;
  struct lc_live_answer answer;       /* of the last call */
  uint64_t stamp;                     /* of the last evaluation */
  bool has_unwatched;                 /* a broken query lacks memory to be found by its tables: it ends with the next commit */
  struct lc_live_counts counts;
  struct lc_arena arena;              /* of an evaluation */
};
/* edges.c: as interest_match, for the edges of a table. */
void edges_match(struct lc_live *l, struct table_interest *t, const struct lc_tx_delta *delta, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx);
/* live.c */
void live_follow_schema(struct lc_live *l);
void live_set_free(struct lc_live *l, struct set *s); /* out of its subscriber's list already */
void live_drop_empty_subscriber(struct lc_live *l, struct subscriber *s);
#endif
