/* What the files about module definitions share: the raw definition as decoded, the state of its validation, faults.
 *
 * All memory is of one arena (plus one scratch buffer), so that decoding and validation may stop anywhere: def_stop jumps back to
 * lc_module_def_decode, which frees everything. Faults of a definition that decodes are collected instead (def_fault).
 */
#ifndef LC_MODULEDEF_INTERNAL_H
#define LC_MODULEDEF_INTERNAL_H
#include "types_internal.h"
#include <setjmp.h>

enum { DEF_MAX_ITEMS = 65536, DEF_MAX_FAULTS = 256, DEF_MAX_SUBMODULE_DEPTH = 16, DEF_MAX_RAW_BYTES = 16 << 20 };
#define S(s) (int)(s).len, (const char *)(s).data /* for %.*s */

/* Kinds of faults in the order they are reported (spec/01 §14, spec/07 §4). The name is what the text ends with, if it has one of its own. */
#define DEF_FAULTS(X)                                                                                                                       \
  X(InvalidTypeRef, "") X(InvalidProductTypeRef, "InvalidProductTypeRef") X(IdentifierError, "IdentifierError") X(UnnamedColumn, "UnnamedColumn") X(DuplicateColumnName, "DuplicateColumnName") \
  X(TypeRefError, "ClientCodegenError TypeRefError") X(NonSpecialTypeNotAUse, "ClientCodegenError NonSpecialTypeNotAUse")                          \
  X(NotValidForDefinition, "ClientCodegenError NotValidForDefinition") X(NamelessTypeDefElement, "ClientCodegenError NamelessTypeDefElement")      \
  X(NotValidIdentifier, "ClientCodegenError NotValidIdentifier") X(NamelessParam, "ClientCodegenError NamelessReducerParam") \
  X(MissingIndexSourceName, "MissingIndexSourceName") X(ColumnNotFound, "ColumnNotFound") X(DuplicateColumns, "DuplicateColumns")                 \
  X(DirectIndexOnBadType, "DirectIndexOnBadType") X(RepeatedPrimaryKey, "RepeatedPrimaryKey")                                                     \
  X(MissingPrimaryKeyUniqueConstraint, "MissingPrimaryKeyUniqueConstraint") X(UniqueConstraintWithoutIndex, "UniqueConstraintWithoutIndex")      \
  X(InvalidSequenceColumnType, "InvalidSequenceColumnType") X(OneAutoInc, "OneAutoInc") X(UnsupportedSequenceOption, "")                          \
  X(TableNameReserved, "TableNameReserved") X(ColumnDefaultValueMalformed, "ColumnDefaultValueMalformed")                                         \
  X(MultipleColumnDefaultValues, "MultipleColumnDefaultValues") X(ColumnDefMalformed, "ColumnDefMalformed")                                       \
  X(TypeHasIncorrectOrdering, "TypeHasIncorrectOrdering") X(InvalidReducerReturnType, "InvalidReducerReturnType")                                 \
  X(InvalidViewReturnType, "InvalidViewReturnType") X(FloatViewParameter, "") X(RepeatedViewPrimaryKey, "RepeatedViewPrimaryKey")                 \
  X(MultipleViewPrimaryKeyColumns, "MultipleViewPrimaryKeyColumns") X(ViewPrimaryKeyViewNotFound, "ViewPrimaryKeyViewNotFound")                   \
  X(ViewPrimaryKeyColumnNotFound, "ViewPrimaryKeyColumnNotFound") X(ViewPrimaryKeyWithParameters, "") X(TableNotFound, "TableNotFound")           \
  X(ScheduledEventTable, "") X(ScheduledIncorrectColumns, "ScheduledIncorrectColumns") X(MissingScheduledFunction, "MissingScheduledFunction")    \
  X(IncorrectScheduledFunctionParams, "IncorrectScheduledFunctionParams") X(LifecycleWithoutReducer, "LifecycleWithoutReducer")                   \
  X(DuplicateLifecycle, "DuplicateLifecycle") X(InvalidHttpRoutePath, "InvalidHttpRoutePath") X(MissingHttpHandler, "MissingHttpHandler")         \
  X(DuplicateHttpRoute, "DuplicateHttpRoute") X(DuplicateHttpHandlerName, "DuplicateHttpHandlerName") X(DuplicateName, "DuplicateName")           \
  X(DuplicateFunctionName, "DuplicateFunctionName") X(DuplicateTypeName, "DuplicateTypeName") X(NamespaceTooLong, "NamespaceTooLong")             \
  X(NamespaceConflict, "") X(LifecycleInSubmodule, "LifecycleInSubmodule") X(Environment, "") X(Outbox, "")
enum def_fault_kind {
#define X(kind, name) FAULT_##kind,
  DEF_FAULTS(X)
#undef X
};
struct def_fault { enum def_fault_kind kind; struct lc_slice text; };

struct def_ctx {
  struct lc_arena *arena;
  struct lc_error *err; /* what stopped it */
  jmp_buf stop;
  struct lc_buf scratch; /* of whoever runs; nothing keeps it across a call */
  struct lc_reader r;    /* decoding */
  uint64_t n_found;      /* faults, of which the first DEF_MAX_FAULTS are kept */
  uint32_t n_faults;
  struct def_fault faults[DEF_MAX_FAULTS];
};

/* ---- moduledef.c ---- */

_Noreturn void def_stop(struct def_ctx *c, enum lc_status status, const char *fmt, ...) LC_PRINTF(3, 4);
void def_fault(struct def_ctx *c, enum def_fault_kind kind, const char *fmt, ...) LC_PRINTF(3, 4);
void *def_alloc(struct def_ctx *c, size_t n, size_t size_bytes); /* zeroed, never NULL: stops instead */
const struct lc_type *def_need(struct def_ctx *c, const struct lc_type *built); /* the same for a builder's result */
struct lc_slice def_text(struct def_ctx *c); /* the scratch buffer's text, copied; clears it */
bool def_add_name(struct def_ctx *c, struct types_names *set, struct lc_slice name, uint32_t value); /* false: it was there */
int types_compare_type_names(const struct lc_type_def *a, const struct lc_type_def *b); /* by scope, then name */

/* ---- the raw definition (moduledef_decode.c, moduledef_v8.c): V8 and V9 in the shape of V10, names as the module wrote them ---- */

struct raw_pair { struct lc_slice source, canonical; };
struct raw_type { uint32_t n_scope; struct lc_slice *scope, name; uint32_t type_ref; bool custom_ordering; };
struct raw_sequence { struct lc_slice name; uint16_t column; bool has[3]; uint8_t options[3][16], increment[16]; }; /* start, min, max: i128 */
struct raw_default { uint16_t column; struct lc_slice value, table; };
struct raw_schedule { struct lc_slice table, function; uint16_t at_column; };
struct raw_lifecycle { enum lc_lifecycle event; struct lc_slice function; };
struct raw_view_key { struct lc_slice view; uint32_t n_columns; struct lc_slice *columns; };
struct raw_outbox { struct lc_slice table, remote_reducer, on_result; bool has_on_result; struct lc_outbox_def def; };
struct raw_table {
  struct lc_slice source;
  uint32_t type_ref, n_pk, n_indexes, n_constraints, n_sequences, n_defaults;
  uint16_t *pk;
  struct lc_index_def *indexes; /* source_name, accessor, kind, columns */
  struct lc_constraint_def *constraints;
  struct raw_sequence *sequences;
  struct raw_default *defaults;
  bool is_system, is_public, is_event;
};
enum { NAME_TABLE, NAME_FUNCTION, NAME_INDEX, NAME_NAMESPACE, NAME_KINDS };
struct raw_module;
struct raw_submodule { struct lc_slice accessor; struct raw_module *module; };
struct raw_module {
  int version;
  bool verbatim; /* case policy None; always so before V10 */
  struct lc_typespace typespace;
  uint32_t n_types, n_tables, n_reducers, n_procedures, n_views, n_schedules, n_lifecycles, n_rls, n_handlers, n_routes, n_view_keys, n_submodules, n_env, n_outboxes, n_defaults;
  struct raw_type *types;
  struct raw_table *tables;
  struct lc_function_def *reducers, *procedures; /* accessor, params, results, is_private */
  struct lc_view_def *views;                     /* accessor, fn_index, flags, params, return_type */
  struct raw_schedule *schedules;
  struct raw_lifecycle *lifecycles;
  struct lc_slice *rls, *handlers;
  struct lc_http_route_def *routes;
  struct raw_view_key *view_keys;
  struct raw_submodule *submodules;
  struct lc_env_def *env;
  struct raw_outbox *outboxes;
  struct raw_default *defaults; /* V9: with the table's name */
  uint32_t n_names[NAME_KINDS];
  struct raw_pair *names[NAME_KINDS]; /* explicit canonical names */
};
void raw_decode(struct def_ctx *c, struct raw_module *out);          /* a whole RawModuleDef at c->r; stops if it is malformed */
void raw_decode_v8(struct def_ctx *c, struct raw_module *out);       /* behind its tag; upgraded as spec/01 §13 says */
/* readers of pieces, for the above */
uint8_t raw_u8(struct def_ctx *c);
uint16_t raw_u16(struct def_ctx *c);
uint32_t raw_u32(struct def_ctx *c);
bool raw_bool(struct def_ctx *c);
void raw_i128(struct def_ctx *c, uint8_t out[16]);
struct lc_slice raw_str(struct def_ctx *c);
struct lc_slice raw_bytes(struct def_ctx *c);
uint8_t raw_tag(struct def_ctx *c, unsigned n_variants, const char *sum);
bool raw_opt(struct def_ctx *c); /* true: a value follows */
uint32_t raw_count(struct def_ctx *c);
uint16_t *raw_columns(struct def_ctx *c, uint32_t *n);
const struct lc_type *raw_type_of(struct def_ctx *c);
const struct lc_type *raw_product(struct def_ctx *c);
void raw_typespace(struct def_ctx *c, struct lc_typespace *out);

/* ---- validation: one builder for each module ---- */

struct builder {
  struct def_ctx *c;
  const struct raw_module *raw;
  struct lc_module_def *def;
  struct types_names explicit_names[NAME_KINDS]; /* source → position in raw->names */
  struct types_names global, functions;          /* names used, spec/01 §14.1; functions: canonical → position */
  struct types_names table_sources, table_names, reducer_sources, reducer_names, procedure_sources, procedure_names;
  uint8_t *slot_state; /* of every typespace slot: USE_* of moduledef_types.c */
  struct lc_table_def *tables;
  struct lc_function_def *reducers, *procedures;
  struct lc_view_def *views;
  bool tables_ok;      /* every table is valid */
};

/* moduledef_types.c: case conversion of types, named types, valid uses and definitions (spec/01 §10.3, §14.2, §14.3) */
struct lc_slice def_convert(struct builder *b, struct lc_slice text, enum lc_case style);
struct lc_slice def_canonical(struct builder *b, int kind, struct lc_slice source); /* explicit, else snake; for an index without one: data NULL */
bool def_check_name(struct builder *b, struct lc_slice name, const char *what);      /* false: reported */
bool def_check_both_names(struct builder *b, struct lc_slice name, struct lc_slice source, const char *what);
const struct lc_type *def_convert_params(struct builder *b, const struct lc_type *params);
void def_build_types(struct builder *b);
bool def_check_use(struct builder *b, const struct lc_type *t, const char *what, struct lc_slice name); /* `t` before conversion */
bool def_resolve(struct builder *b, const struct lc_type *t, const struct lc_type **out, const char *what, struct lc_slice name);

/* moduledef_table.c */
bool def_name_columns(struct builder *b, const char *what, struct lc_slice of, const struct lc_type *written, const struct lc_type *converted, struct lc_column_def *columns); /* false: reported */
void def_build_tables(struct builder *b);
void def_build_functions(struct builder *b);  /* moduledef_functions.c: reducers, procedures, views */
void def_link_functions(struct builder *b);   /* to tables: view keys, lifecycle, schedules */
void def_use_name(struct builder *b, struct lc_slice name); /* in the space of tables, indexes, constraints, sequences, schedules, views */
struct lc_function_def *def_find_reducer(struct builder *b, struct lc_slice name);
void def_check_columns(struct builder *b, struct lc_slice def_name, uint32_t n_columns, uint32_t n, const uint16_t *columns, bool *ok);
void def_build_http(struct builder *b);       /* moduledef_env.c */
void def_build_environment(struct builder *b);
void def_build_outboxes(struct builder *b);   /* moduledef_outbox.c */
void def_signature(struct lc_buf *out, const struct lc_function_def *f, struct lc_hash *hash);
void def_mount_submodules(struct builder *b, unsigned depth); /* moduledef_mount.c */
void def_build(struct def_ctx *c, const struct raw_module *raw, struct lc_module_def *def, unsigned depth); /* moduledef.c */

#endif
