/* Plans as the files of sql/ see them: typed conditions over numbered relations, and the steps that run them. Everything lies in the plan's arena. */
#ifndef LC_SQL_PLAN_H
#define LC_SQL_PLAN_H
#include "ast.h"

enum op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_AND, OP_OR, OP_COLUMN, OP_VALUE };
struct expr {
  enum op op;
  const struct expr *left, *right;
  const struct lc_type *type;
  uint16_t relation, column;
  uint32_t offset_bytes;             /* of the column where all before it have a fixed size; else LC_SIZE_DYNAMIC */
  struct lc_slice value;             /* BSATN */
  uint32_t relations;                /* set of those used below */
};
struct relation {
  const struct lc_table_info *table;
  struct lc_slice scope;
  bool is_raw;                       /* row-level security has been applied or does not apply */
  uint32_t n_above; const uint32_t *above; /* tables whose rules are being expanded around it */
};

/* How a step finds the rows of its relation. Keys: each part a constant or a column of a relation bound before. */
enum access { A_SCAN, A_FIND, A_POINT, A_RANGE, A_HASH };
struct part { struct lc_slice value; const struct expr *column; }; /* exactly one */
/* scan.c: a number column against a constant. The value as a number in its order, less low, is at most span; is_outside: is more. */
struct test { uint32_t offset_bytes; uint8_t bytes, kind; bool is_outside; uint64_t low, span; };
struct step {
  uint32_t relation;
  enum access access;
  const struct lc_index_info *index;
  uint32_t n_parts; const struct part *parts;
  struct part low, high; bool has_low, has_high, low_excluded, high_excluded; /* A_RANGE: on the column after the parts */
  const struct expr *hash_column; const struct part *hash_part;               /* A_HASH: one equality to a relation bound before */
  uint32_t n_filters; const struct expr *const *filters;                      /* conditions that can be decided here */
  uint32_t n_tests; const struct test *tests;                                 /* the first n_tests of them, as tests */
};
struct order { uint32_t n; const struct step *steps; };

struct fragment {
  uint32_t n_relations; struct relation relations[LC_SQL_MAX_RELATIONS];
  uint32_t n_conditions; const struct expr **conditions; /* all must hold */
  uint32_t result;
  struct order orders[LC_SQL_MAX_RELATIONS + 1];         /* beginning with each relation; the last: the best */
};
struct assignment { uint16_t column; struct lc_slice value; };
struct lc_plan {
  struct lc_arena arena;
  enum lc_sql_kind kind;
  enum lc_sql_language language;
  const struct lc_table_info *table; /* whose whole rows are returned, or changed */
  bool is_whole_row, is_per_identity, is_limited; /* limited: the row limit applies */
  const struct lc_type *row_type;
  uint32_t n_items; const struct expr *const *items; /* columns of a projection, in the first fragment's numbering: same in all */
  uint64_t limit;
  uint32_t n_fragments; struct fragment **fragments;
  uint32_t n_views; struct lc_plan_view *views;
  struct lc_slice key;
  /* changes */
  uint32_t n_rows; struct lc_slice *rows;            /* INSERT: BSATN */
  uint32_t n_assignments; struct assignment *assignments;
};

/* Compiling one statement; check.c makes it, the other files fill the plan in. */
struct check {
  struct lc_plan *plan;
  struct lc_arena parsed;            /* what the parser makes: gone when the plan is complete */
  struct lc_read_view view;
  const struct lc_sql_caller *caller;
  struct lc_error *err;
};
#define T(s) (int)(s).len, (const char *)(s).data
static inline void *check_take(struct check *k, size_t count, size_t size) {
  void *m = lc_arena_alloc_zero(&k->plan->arena, count ? count : 1, size);
  if (!m) lc_fail(k->err, LC_NOMEM, "out of memory");
  return m;
}

/* check.c: names and types */
bool check_fragment(struct check *k, const struct ast *ast, struct fragment *out);
const struct lc_table_info *check_table(struct check *k, struct lc_slice name); /* NULL: none that the caller may see */
bool check_condition(struct check *k, struct fragment *f, const struct expr *e); /* adds e, split at its ANDs */
const struct expr *check_column_expr(struct check *k, const struct fragment *f, uint32_t relation, uint32_t column);
/* literal.c: spec/05 §6 */
bool literal_value(struct check *k, const struct ast_expr *e, const struct lc_type *type, struct lc_slice *value);
bool literal_integer(struct lc_slice text, bool plain, struct lc_buf *digits); /* digits of an integral number; plain: no point allowed */
bool literal_mismatch(struct check *k, const struct lc_type *found, const struct lc_type *wanted);
bool literal_bad(struct check *k, struct lc_slice text, const struct lc_type *type);
/* rules.c: row-level security (spec/05 §10): replaces the plan's fragments by those that the rules make of them */
bool rules_apply(struct check *k);
/* steps.c */
bool steps_plan(struct check *k, struct fragment *f);
bool steps_check_subscription(struct check *k, const struct fragment *f); /* spec/05 §13, 3-5 */
/* scan.c */
bool scan_test_of(const struct expr *e, struct test *out); /* false: it is something else */
/* Which of n <= 65,536 rows, stride_bytes apart, pass all tests (n_tests > 0): their numbers, ascending, and how many. */
uint32_t scan_select(const struct test *tests, uint32_t n_tests, const uint8_t *rows, size_t stride_bytes, uint32_t n, uint16_t *selected);
bool scan_row_passes(const struct test *tests, uint32_t n_tests, const uint8_t *row);
/* change.c */
bool change_compile(struct check *k, const struct ast *ast);
#endif
