/* The face of types/: algebraic types, BSATN, SATS-JSON, identities, module definitions (spec/01, spec/07 §4).
 *
 * A `struct lc_type` tree lives in an arena owned by whoever decoded it (a module definition, a table schema) and is
 * immutable afterwards, so any thread may read it. Types used by tables are resolved: no LC_T_REF inside.
 */
#ifndef LC_TYPES_H
#define LC_TYPES_H
#include "../base/base.h"

/* Numeric values are the BSATN tags of spec/01 §2. */
enum lc_type_kind {
  LC_T_REF = 0, LC_T_SUM, LC_T_PRODUCT, LC_T_ARRAY, LC_T_STRING, LC_T_BOOL,
  LC_T_I8, LC_T_U8, LC_T_I16, LC_T_U16, LC_T_I32, LC_T_U32, LC_T_I64, LC_T_U64,
  LC_T_I128, LC_T_U128, LC_T_I256, LC_T_U256, LC_T_F32, LC_T_F64,
};
/* Structurally recognised types (spec/01 §5), computed once when a type is built. */
enum lc_special { LC_SPECIAL_NONE, LC_SPECIAL_IDENTITY, LC_SPECIAL_CONNECTION_ID, LC_SPECIAL_TIMESTAMP, LC_SPECIAL_DURATION,
                  LC_SPECIAL_UUID, LC_SPECIAL_SCHEDULE_AT, LC_SPECIAL_OPTION, LC_SPECIAL_RESULT };
#define LC_SIZE_DYNAMIC UINT32_MAX
#define LC_TYPE_MAX_DEPTH 64      /* nesting of types and of recursive values */
#define LC_TYPE_ARENA_MAX_BYTES ((size_t)64 << 20) /* of an arena in which types are decoded or resolved: nested references multiply */

struct lc_type_field { struct lc_slice name; bool has_name; const struct lc_type *type; }; /* product element or sum variant */
struct lc_type {
  enum lc_type_kind kind;
  enum lc_special special;
  uint32_t static_size_bytes; /* BSATN size when every value has it (spec/01 §9.2), else LC_SIZE_DYNAMIC */
  uint32_t ref;               /* LC_T_REF */
  uint32_t n_fields;          /* LC_T_SUM, LC_T_PRODUCT */
  const struct lc_type_field *fields;
  const struct lc_type *elem; /* LC_T_ARRAY */
};
struct lc_typespace { uint32_t n; const struct lc_type **types; };

/* Decodes one AlgebraicType (spec/01 §4) into `arena`. Limits: depth LC_TYPE_MAX_DEPTH, at most 65,536 fields. */
enum lc_status lc_type_decode(struct lc_arena *arena, struct lc_reader *r, const struct lc_type **out, struct lc_error *err);
void lc_type_encode(struct lc_buf *out, const struct lc_type *type);
/* Copy of `type` with every reference replaced by its target; fails on out-of-range or recursive references (spec/01 §2). */
enum lc_status lc_type_resolve(struct lc_arena *arena, const struct lc_typespace *ts, const struct lc_type *type, const struct lc_type **out, struct lc_error *err);
bool lc_type_eq(const struct lc_type *a, const struct lc_type *b);
void lc_type_display(struct lc_buf *out, const struct lc_type *type); /* spec/01 §2 display form */
const struct lc_type *lc_type_primitive(enum lc_type_kind kind);      /* static singletons */
/* Builders used by the system catalog; result in `arena`. */
const struct lc_type *lc_type_new_array(struct lc_arena *arena, const struct lc_type *elem);
const struct lc_type *lc_type_new_product(struct lc_arena *arena, uint32_t n, const struct lc_type_field *fields);
const struct lc_type *lc_type_new_sum(struct lc_arena *arena, uint32_t n, const struct lc_type_field *fields);
const struct lc_type *lc_type_new_option(struct lc_arena *arena, const struct lc_type *some);
const struct lc_type *lc_type_identity(void);      /* { __identity__: U256 } */
const struct lc_type *lc_type_connection_id(void);
const struct lc_type *lc_type_timestamp(void);

/* ---- BSATN values (spec/01 §3) ---- */

/* Validates one value of `type` at r and leaves r behind it. ts may be NULL for resolved types. Error texts of spec/01 §3. */
enum lc_status lc_bsatn_validate(const struct lc_type *type, const struct lc_typespace *ts, struct lc_reader *r, struct lc_error *err);
/* Steps over a value that was validated before (no checks); returns the first byte after it. */
const uint8_t *lc_bsatn_skip(const struct lc_type *type, const uint8_t *value);
/* Order of spec/01 §8 on two validated encoded values: <0, 0, >0. */
int lc_bsatn_compare(const struct lc_type *type, const uint8_t *a, const uint8_t *b);
/* The bits of an F32 (bytes: 4) or F64 (8) as a number that orders as they do (spec/01 §8): -0 is 0, what is no number comes last. */
static inline uint64_t lc_float_order(uint64_t bits, unsigned bytes) {
  uint64_t sign = (uint64_t)1 << (bytes * 8 - 1), all = sign | (sign - 1), infinity = bytes == 4 ? 0x7f800000u : 0x7ff0000000000000u, magnitude = bits & ~sign;
  if (magnitude > infinity) return all;
  if (magnitude == 0) return sign;
  return bits & sign ? ~bits & all : bits | sign;
}
/* True if equal values of this type always have equal bytes (no float inside). */
bool lc_type_is_bitwise(const struct lc_type *type);
/* Offset of column `col` in a validated row of product type `row_type` (constant if earlier columns are static). */
const uint8_t *lc_row_column(const struct lc_type *row_type, const uint8_t *row, uint32_t col);

/* ---- SATS-JSON (spec/01 §7) ---- */

enum lc_json_form { LC_JSON_D, LC_JSON_R, LC_JSON_U }; /* forms of spec/01 §7.3 (D, R, U) */
enum lc_status lc_json_write_value(struct lc_buf *out, const struct lc_type *type, const struct lc_typespace *ts, struct lc_reader *r, enum lc_json_form form, struct lc_error *err);
/* Parses JSON text (UTF-8) to BSATN of `type`, appended to out. Error texts name the path. */
enum lc_status lc_json_parse_value(struct lc_slice json, const struct lc_type *type, const struct lc_typespace *ts, struct lc_buf *out, struct lc_error *err);
/* As above; error texts say where: "<problem> at line L column C" (spec/03 §18). */
enum lc_status lc_json_parse_message(struct lc_slice json, const struct lc_type *type, struct lc_buf *out, struct lc_error *err);
/* As above for call arguments: JSON array (positional) or object, whose keys are names of parameters as the module wrote them or canonical ones
 * (spec/04 §3.6, spec/07 §4.5). */
struct lc_function_def;
enum lc_status lc_json_parse_args(struct lc_slice json, const struct lc_function_def *function, struct lc_buf *out, struct lc_error *err);
void lc_json_write_type(struct lc_buf *out, const struct lc_type *type); /* SATS-JSON of an AlgebraicType (spec/01 §7.5) */
void lc_json_escape(struct lc_buf *out, struct lc_slice text);           /* with quotes */
/* SQL result / error text forms (SATN, psql-like) of spec/01 §6.4 and spec/04 §7.4. */
enum lc_status lc_satn_write(struct lc_buf *out, const struct lc_type *type, struct lc_reader *r);

/* ---- identities (spec/01 §6) ---- */

void lc_identity_from_claims(struct lc_slice issuer, struct lc_slice subject, struct lc_identity *out);
void lc_identity_hex(const struct lc_identity *id, char out[65]);       /* big-endian text, NUL */
bool lc_identity_parse(struct lc_slice text, struct lc_identity *out);  /* optional 0x / X' prefix */
void lc_connection_id_hex(const struct lc_connection_id *id, char out[33]);
bool lc_connection_id_parse(struct lc_slice text, struct lc_connection_id *out);
bool lc_connection_id_is_zero(const struct lc_connection_id *id);

enum lc_case { LC_CASE_SNAKE, LC_CASE_CAMEL, LC_CASE_PASCAL };
/* Appends `text`, valid UTF-8, in another spelling (spec/01 §10.3); words end at `_`, `-`, blanks and where letters change their kind. */
void lc_name_convert(struct lc_buf *out, struct lc_slice text, enum lc_case style);
bool lc_name_is_valid(struct lc_slice name); /* identifiers with points between: what a function may be called */

/* ---- module definitions (spec/01 §11-§15, spec/07 §4): decoded, validated, canonical names ----
 *
 * The lists of tables, reducers, procedures and views hold the module's own items first, then those of its submodules depth-first, under
 * dotted names ("my_lib.users"; accessors "myLib.users"). A position in `reducers` or `procedures` is the id of the module ABI. */

enum lc_index_kind { LC_INDEX_BTREE, LC_INDEX_HASH, LC_INDEX_DIRECT };
enum lc_lifecycle { LC_LIFECYCLE_NONE, LC_LIFECYCLE_INIT, LC_LIFECYCLE_CONNECT, LC_LIFECYCLE_DISCONNECT };
struct lc_index_def { struct lc_slice name, source_name, accessor; enum lc_index_kind kind; uint32_t n_columns; const uint16_t *columns; };
struct lc_constraint_def { struct lc_slice name; uint32_t n_columns; const uint16_t *columns; };
struct lc_sequence_def { struct lc_slice name; uint16_t column; };
struct lc_column_def { struct lc_slice name, accessor; const struct lc_type *type; bool has_default; struct lc_slice default_bsatn; };
struct lc_table_def {
  struct lc_slice name, accessor;         /* canonical (with namespace prefix) and source name (with the namespaces' accessors) */
  struct lc_slice mount;                  /* canonical namespace, dotted; empty in the root module */
  const struct lc_typespace *typespace;   /* of the module that declares it */
  const struct lc_type *row_type;         /* resolved; field names canonical */
  uint32_t type_ref;                      /* index in the typespace: there the row type as declared, with its references */
  uint32_t n_columns; const struct lc_column_def *columns;
  int32_t primary_key;                    /* column or -1 */
  bool is_public, is_event, is_system;
  uint32_t n_indexes; const struct lc_index_def *indexes;
  uint32_t n_constraints; const struct lc_constraint_def *constraints; /* unique constraints */
  uint32_t n_sequences; const struct lc_sequence_def *sequences;
  bool has_schedule; struct lc_slice schedule_name, schedule_function; uint16_t schedule_at_column; bool schedule_is_procedure;
};
struct lc_function_def {
  struct lc_slice name, accessor;
  const struct lc_typespace *typespace;   /* what references in its types mean */
  const struct lc_type *params;           /* product; may hold references into typespace */
  const struct lc_type *canonical_params; /* the same with canonical parameter names */
  const struct lc_type *ok_type, *err_type; /* procedures: ok_type = return type */
  enum lc_lifecycle lifecycle;            /* reducers */
  bool is_private;                        /* not callable by clients */
};
struct lc_view_def {
  struct lc_slice name, accessor, mount;
  uint32_t fn_index;                      /* ABI id among views of the same anonymity, of all modules */
  bool is_public, is_anonymous, is_query; /* is_query: returns __query__ marker */
  const struct lc_typespace *typespace;
  const struct lc_type *params, *row_type; /* row_type resolved */
  const struct lc_type *canonical_params, *return_type; /* parameter names canonical; Option(Ref), Array(Ref) or { __query__: Ref } */
  uint32_t n_columns; const struct lc_column_def *columns; /* of row_type, with their accessors */
  int32_t primary_key;                    /* column or -1 */
};
struct lc_type_def { uint32_t n_scope; const struct lc_slice *scope; struct lc_slice name; uint32_t type_ref; bool custom_ordering; }; /* canonical */
enum lc_route_method { LC_ROUTE_GET, LC_ROUTE_HEAD, LC_ROUTE_POST, LC_ROUTE_PUT, LC_ROUTE_DELETE, LC_ROUTE_CONNECT, LC_ROUTE_OPTIONS, LC_ROUTE_TRACE, LC_ROUTE_PATCH,
                       LC_ROUTE_EXTENSION, LC_ROUTE_ANY };
struct lc_http_route_def { struct lc_slice handler, path, extension; enum lc_route_method method; }; /* handler: source name; extension: LC_ROUTE_EXTENSION */
enum lc_env_kind { LC_ENV_STRING, LC_ENV_LITERAL, LC_ENV_UNION };
struct lc_env_def { struct lc_slice name; enum lc_env_kind kind; uint32_t n_literals; const struct lc_slice *literals; bool optional; }; /* spec/07 §4.1; a union is sorted, without repeats */
struct lc_outbox_def {                    /* spec/07 §4.3, §8.1 */
  struct lc_slice table;                  /* canonical name, dotted */
  uint32_t table_index;                   /* in `tables` */
  struct lc_slice remote_reducer;
  uint16_t target_column;                 /* an Identity or U256 */
  uint32_t n_args; const uint16_t *arg_columns;
  int32_t on_result;                      /* the local reducer that gets the result: its index in `reducers`, or -1 */
  struct lc_hash signature;               /* of the remote reducer as the sender knows it (spec/07 §4.8) */
};
struct lc_module_def;
struct lc_submodule_def { struct lc_slice accessor, name; const struct lc_module_def *def; }; /* name: canonical namespace; def: as if it were a root */
struct lc_module_def {
  struct lc_arena arena;                  /* owns everything below, the submodules' definitions too (theirs is empty) */
  int raw_version;                        /* 8, 9 or 10 */
  struct lc_typespace typespace;
  uint32_t n_tables; const struct lc_table_def *tables;
  uint32_t n_reducers; const struct lc_function_def *reducers;     /* index = ABI id */
  uint32_t n_procedures; const struct lc_function_def *procedures; /* index = ABI id */
  uint32_t n_views; const struct lc_view_def *views;
  uint32_t n_outboxes; const struct lc_outbox_def *outboxes;
  uint32_t n_rls; const struct lc_slice *rls_sql;
  uint32_t n_http_handlers; const struct lc_slice *http_handlers; /* source names; index = ABI id */
  const struct lc_slice *http_handler_names;                      /* their canonical names */
  uint32_t n_http_routes; const struct lc_http_route_def *http_routes; /* the first match wins */
  uint32_t n_types; const struct lc_type_def *types;               /* named types, in definition order */
  uint32_t n_env; const struct lc_env_def *env;
  uint32_t n_submodules; const struct lc_submodule_def *submodules;
  uint32_t n_own_tables, n_own_reducers, n_own_procedures, n_own_views, n_own_outboxes, n_own_rls; /* how many of the lists above are the module's own */
};
/* Decodes BSATN RawModuleDef and validates it; on failure *err holds "Errors occurred:" and every fault found, one a line (spec/01 §14), or what
 * could not be decoded. Free with lc_module_def_free. LC_INVALID, LC_LIMIT, LC_NOMEM. */
enum lc_status lc_module_def_decode(struct lc_slice raw, struct lc_module_def **out, struct lc_error *err);
/* The same of a definition in JSON as lc_module_def_json writes it, version 9 or 10. */
enum lc_status lc_module_def_from_json(struct lc_slice json, struct lc_module_def **out, struct lc_error *err);
void lc_module_def_free(struct lc_module_def *def); /* NULL allowed */
/* What a caller in another database must know a reducer by (spec/07 §4.8): Keccak-256 over canonical parameters and result types.
 * LC_NOMEM; LC_LIMIT for types nested absurdly. */
enum lc_status lc_reducer_signature(const struct lc_function_def *reducer, struct lc_hash *out, struct lc_error *err);
/* Appends the exported schema: the SATS-JSON of a bare RawModuleDefV9 (version 9) or V10 (version 10) that says what `def` says
 * (spec/01 §15, spec/07 §4.7). LC_INVALID for another version, LC_NOMEM. `def` and its strings are only read; any thread. */
enum lc_status lc_module_def_json(const struct lc_module_def *def, unsigned version, struct lc_buf *out, struct lc_error *err);

#endif
