/* What the parser makes of a text (spec/05 §3, spec/07 §5.1): names as written, literals as text, and where the language does not allow something that
 * the grammar knows, the message about it in the place where it stands. Everything lies in the arena of the parser's caller. Inside of sql/ only. */
#ifndef LC_SQL_AST_H
#define LC_SQL_AST_H
#include "lexer.h"

enum ast_kind { X_COLUMN, X_NUMBER, X_STRING, X_HEX, X_BOOL, X_SENDER, X_COMPARE, X_AND, X_OR, X_OTHER };
enum compare_op { C_EQ, C_NE, C_LT, C_LE, C_GT, C_GE };
struct ast_expr {
  enum ast_kind kind; enum compare_op op;
  struct ast_expr *left, *right;
  struct lc_slice qualifier, name;   /* X_COLUMN; qualifier: parts joined by dots, empty: none */
  struct lc_slice text;              /* literals: digits with sign, contents */
  bool truth;                        /* X_BOOL */
  const char *error;                 /* X_OTHER: whole message */
  struct lc_slice shown;             /* X_OTHER: the piece as normalised text, for messages of other places */
};
struct ast_item { bool is_star, is_count, is_function; struct lc_slice qualifier; struct ast_expr *expr; struct lc_slice alias, shown; bool has_alias; };
struct ast_table { struct lc_slice name, scope; bool has_arguments; uint32_t n_arguments; struct ast_expr **arguments; const char *error; };
struct ast_join { struct ast_table table; bool has_on; struct ast_expr *left, *right; const char *error; };
struct ast_assignment { struct lc_slice column; struct ast_expr *value; };

enum statement_kind { S_SELECT, S_INSERT, S_UPDATE, S_DELETE, S_SET, S_SHOW, S_OTHER };
struct ast {
  enum statement_kind kind;
  struct lc_slice shown;             /* the whole statement, normalised */
  /* SELECT; table and where also of UPDATE and DELETE */
  uint32_t n_items; struct ast_item *items;
  bool has_from, many_from; struct ast_table table;
  uint32_t n_joins; struct ast_join *joins;
  struct ast_expr *where;
  bool has_limit; struct lc_slice limit; bool limit_is_number;
  const char *query_error, *select_error, *set_error; /* clauses that are not supported: of the query, of the select, a set operation */
  struct lc_slice shown_select;
  /* INSERT, UPDATE, SET, SHOW */
  uint32_t n_columns; struct lc_slice *columns;
  uint32_t n_rows; struct ast_expr ***rows; uint32_t *row_lengths;
  bool insert_select;
  uint32_t n_assignments; struct ast_assignment *assignments;
  struct lc_slice variable; struct ast_expr *value;
};
/* Parses one statement. *err: texts of spec/05 §2 and §4 that begin with "sql parser error: ", and those about the number of statements. */
enum lc_status sql_parse(struct lc_arena *arena, struct lc_slice sql, struct ast **out, struct lc_error *err);
/* The first message in the order in which the language looks at the pieces; NULL: none. language as in sql.h. */
const char *sql_unsupported(struct lc_arena *arena, const struct ast *ast, enum lc_sql_language language);
#endif
