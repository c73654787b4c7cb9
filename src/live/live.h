/* The face of live/: subscriptions. Knows query sets, shared queries and the predicate index; turns a committed delta into encoded
 * row lists, each once (DESIGN idea 4). Knows no sockets and no message formats beyond BsatnRowList (spec/03 §5).
 * Owner: the baton holder of the database; nothing here is thread-safe. `client` is an opaque pointer of the caller. */
#ifndef LC_LIVE_H
#define LC_LIVE_H
#include "../sql/sql.h"

struct lc_live;
/* Rows of one query: initial rows, dropped rows, or one-off result. row_list is an encoded BsatnRowList. */
struct lc_query_rows { const struct lc_table_info *table; struct lc_slice table_name; uint32_t n_rows; struct lc_slice row_list; };
/* Change of one distinct query by one transaction; shared by all its subscribers. inserts/deletes: encoded BsatnRowLists. */
struct lc_query_delta {
  const struct lc_table_info *table; struct lc_slice table_name; bool is_event;
  uint32_t n_inserts, n_deletes; struct lc_slice inserts, deletes;
  struct lc_buf cached[3]; /* encodings a protocol may keep here for its other subscribers; freed with the delta */
};
struct lc_set_update { uint64_t query_set_id; uint32_t n; const struct lc_query_delta *const *deltas; };

struct lc_live *lc_live_new(struct lc_datastore *ds); /* NULL: out of memory */
void lc_live_free(struct lc_live *live);
/* The texts of a subscription as they are to be subscribed to, appended as BSATN strings: without blanks around them, and `SELECT * FROM *` as all that it stands for
 * (spec/03 §14.1). LC_LIMIT: too many. */
enum lc_status lc_live_expand(const struct lc_live *live, const struct lc_sql_caller *caller, uint32_t n_queries, const struct lc_slice *queries, struct lc_buf *texts, uint32_t *n_texts, struct lc_error *err);
/* Subscribes `client` to a set of queries. On success *rows (n entries, valid until the next call on live) are the initial rows per
 * table as the protocol wants them (spec/03 §14.2). Errors leave nothing behind: text as spec/03 §14.4. Id in use: LC_EXISTS. */
enum {
  LC_LIVE_NO_ROWS = 1,  /* none are wanted */
  LC_LIVE_NEW_ONLY = 2, /* only of queries that no other set of the client holds, sets that are apart left out (spec/03 §14.3) */
  LC_LIVE_WHOLE = 4,    /* one answer for each query, parts together, and empty ones too */
  LC_LIVE_NO_EVENTS = 8, /* event tables are refused */
  LC_LIVE_APART = 16    /* the set does not count for LC_LIVE_NEW_ONLY of others */
};
enum lc_status lc_live_subscribe(struct lc_live *live, void *client, const struct lc_sql_caller *caller, uint64_t query_set_id, uint32_t flags, uint32_t n_queries, const struct lc_slice *queries,
                                 const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err);
/* Ends a set. *rows as above are the rows it covered. LC_NOT_FOUND with the documented text for an unknown id. */
enum lc_status lc_live_unsubscribe(struct lc_live *live, void *client, uint64_t query_set_id, uint32_t flags, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err);
void lc_live_drop_client(struct lc_live *live, void *client);
/* Who is told of an evaluation. Called inside lc_live_evaluate; must not call back into live/. */
struct lc_live_sink {
  void *ctx;
  void (*update)(void *ctx, void *client, const struct lc_set_update *sets, uint32_t n_sets); /* once for each affected client */
  /* A set has ended (spec/05 §19); before any update. Returns whether the client's other sets end with it, of which it is not told. */
  bool (*failed)(void *ctx, void *client, uint64_t query_set_id, const char *text);
};
/* Evaluates one committed delta. Everything passed to the sink is valid during the call only. Cost is proportional to the delta and the interested queries. */
void lc_live_evaluate(struct lc_live *live, const struct lc_tx_delta *delta, const struct lc_live_sink *sink);
/* Since the beginning: distinct queries that commits made it evaluate, and those that had changes (spec/05 §20). Now: distinct queries, sets, clients with any. */
struct lc_live_counts { uint64_t evaluated, matched, queries, sets, subscribers; };
struct lc_live_counts lc_live_counts(const struct lc_live *live);
/* A one-off query's rows (spec/03 §13), of a plan made for the present: *rows valid until the next call on live. */
enum lc_status lc_live_one_off(struct lc_live *live, const struct lc_plan *plan, struct lc_query_rows *rows, struct lc_error *err);

/* The rows of a set of the client, flags as above: at once; or what computing them would look at, and the texts (BSATN strings appended; returns how many; buffer
 * failed: out of memory) for somebody else to do it. */
enum lc_status lc_live_set_rows(struct lc_live *live, void *client, uint64_t query_set_id, uint32_t flags, const struct lc_query_rows **rows, uint32_t *n_rows, struct lc_error *err);
uint64_t lc_live_set_cost(struct lc_live *live, void *client, uint64_t query_set_id, uint32_t flags);
uint32_t lc_live_set_texts(struct lc_live *live, void *client, uint64_t query_set_id, uint32_t flags, struct lc_buf *texts);
/* The rows of n texts on an opened view, by any thread. LC_CLOSED: *cancel (may be NULL) became true. The answer starts zeroed and is to be freed in any case, before
 * the view is closed. */
struct lc_live_answer { struct lc_query_rows *rows; uint32_t n, cap; struct lc_buf bytes; };
enum lc_status lc_live_read(struct lc_read_view view, enum lc_sql_language language, const struct lc_sql_caller *caller, uint32_t flags, struct lc_slice texts, uint32_t n, const atomic_bool *cancel,
                            struct lc_live_answer *answer, struct lc_error *err);
void lc_live_answer_free(struct lc_live_answer *answer);

/* ---- watches (watches.c): changed rows of interest to others than queries ---- */

struct lc_watches;
struct lc_watch;
struct lc_watches *lc_watches_new(void); /* NULL: out of memory */
void lc_watches_free(struct lc_watches *w); /* precondition: all watches are removed */
/* Rows of the table that the search admits. Copies its values. May name a few rows more. NULL: out of memory. */
struct lc_watch *lc_watch_add(struct lc_watches *w, const struct lc_table_info *table, const struct lc_search *search, void *owner);
void lc_watch_remove(struct lc_watches *w, struct lc_watch *watch);
bool lc_watches_table(const struct lc_watches *w, uint32_t table_id); /* does anybody watch it? */
void lc_watches_match(const struct lc_watches *w, const struct lc_table_info *table, struct lc_slice row, void (*hit)(void *ctx, void *owner), void *ctx);

#endif
