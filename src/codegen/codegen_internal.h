/* What the generators share: the module as they see it, with every name in every spelling, and the making of text (model.c).
 *
 * Everything lives in the arena of the model and is immutable once built. A submodule's things stand beside the module's own; `space` tells
 * them apart.
 */
#ifndef LC_CODEGEN_INTERNAL_H
#define LC_CODEGEN_INTERNAL_H
#include "codegen.h"

#define CG_MAX_DEPTH 64u /* of types in types */

struct cg_name { struct lc_slice source, snake, camel, pascal; };

struct cg_space;
struct cg_type {
  struct cg_name name, flat;         /* flat: with the namespaces before it */
  const struct lc_type *type;        /* a product or a sum */
  const struct cg_space *space;
  bool is_recursive;                 /* contains itself */
};
/* A module or submodule: what references mean there. */
struct cg_space {
  const struct lc_module_def *def;
  const struct cg_space *parent;     /* NULL: the root module */
  struct cg_name name, flat;         /* of the namespace; empty in the root module */
  struct lc_slice folder;            /* "lib/sub", or empty */
  struct lc_slice wire;              /* "lib.sub." as wire names begin, or empty */
  uint32_t n_types;
  struct cg_type *types;             /* by name */
  struct cg_type **by_ref;           /* NULL: the slot of the typespace has no name */
};
struct cg_column {
  struct cg_name name;               /* of the field of the row's type */
  struct lc_slice wire;
  const struct lc_type *type;        /* as declared, with references */
  bool is_unique;
};
struct cg_index { struct cg_name name; struct lc_slice wire; uint32_t n_columns; const uint16_t *columns; };
struct cg_table {                    /* or view */
  struct cg_name name, flat;
  struct lc_slice wire;
  const struct cg_space *space;
  const struct cg_type *row;
  bool is_view, is_event;
  int32_t primary_key;
  uint32_t n_columns;
  struct cg_column *columns;
  uint32_t n_indexes;                /* those with an accessor */
  struct cg_index *indexes;
  uint32_t n_constraints;
  const struct lc_constraint_def *constraints;
};
struct cg_function {
  struct cg_name name, flat;
  struct lc_slice wire;
  const struct cg_space *space;
  uint32_t n_params;
  struct cg_column *params;          /* wire and is_unique unused */
  const struct lc_type *returns;     /* procedures */
};
struct cg_model {
  struct lc_arena arena;
  const struct lc_codegen_options *options;
  struct lc_codegen_output *out;
  struct lc_codegen_file **last;
  bool no_memory;                    /* a name could not be made */
  uint32_t n_spaces, n_tables, n_reducers, n_procedures;
  struct cg_space *spaces;           /* the root first, then depth-first */
  struct cg_table *tables;           /* by wire name */
  struct cg_function *reducers;      /* in definition order */
  struct cg_function *procedures;    /* by wire name */
};

/* ---- text ---- */

/* A new output file; its text begins with the mark and `head`. NULL: no memory. */
struct lc_buf *cg_file(struct cg_model *m, const char *head, const char *path_fmt, ...) LC_PRINTF(3, 4);
#define CG_S(slice) (int)(slice).len, (const char *)(slice).data /* for "%.*s" */
/* Appends `text` with `$k` replaced by the variable k; a `$` before anything else stays. vars end with key 0. */
struct cg_var { char key; struct lc_slice text; };
void cg_fill(struct lc_buf *out, const char *text, const struct cg_var *vars);
void cg_string(struct lc_buf *out, struct lc_slice text); /* a string literal of Rust and TypeScript alike */
void cg_spaces(struct lc_buf *out, unsigned n);

/* ---- questions ---- */

/* The named type a reference leads to, or NULL. */
const struct cg_type *cg_named(const struct cg_space *space, const struct lc_type *type);
/* The type in the slot of a reference; any other type itself. */
const struct lc_type *cg_deref(const struct cg_space *space, const struct lc_type *type);
/* The named types that a file uses, those that its types mention themselves, not through another named one: begin, add types, walk them in order of space and name, end. */
struct cg_uses { struct cg_model *m; bool **used; };
bool cg_uses_begin(struct cg_uses *u, struct cg_model *m); /* false: no memory */
void cg_uses_add(struct cg_uses *u, const struct cg_space *s, const struct lc_type *t);
void cg_uses_add_named(struct cg_uses *u, const struct cg_type *t);
const struct cg_type *cg_uses_next(const struct cg_uses *u, const struct cg_type *after); /* after NULL: the first; NULL: no more */
void cg_uses_end(struct cg_uses *u);
/* Whether the type mentions a named type. */
bool cg_has_named(const struct cg_space *space, const struct lc_type *type);
bool cg_is_bytes(const struct lc_type *type);                 /* an array of U8 */
bool cg_is_plain_enum(const struct lc_type *type);            /* a sum of unit variants only, at least one */
bool cg_is_unit(const struct lc_type *type);                  /* a product without elements */
struct cg_name cg_name(struct cg_model *m, struct lc_slice source);

/* ---- the generators ---- */

enum lc_status cg_typescript(struct cg_model *m, struct lc_error *err);
enum lc_status cg_rust(struct cg_model *m, struct lc_error *err);

#endif
