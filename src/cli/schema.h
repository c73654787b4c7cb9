/* A database's module definition as the server gives it (spec/01 §15), for `call` and `describe`.
 *
 * Everything borrowed from `root` lives until lc_cli_schema_free. Integers that do not fit 64 bits are read as doubles; only `raw` is exact.
 */
#ifndef LC_CLI_SCHEMA_H
#define LC_CLI_SCHEMA_H
#include "cli_internal.h"
#include <jansson.h>

struct lc_cli_schema {
  char *raw; /* the answer's text */
  json_t *root;
  const json_t *types;     /* of the typespace */
  const json_t *type_defs; /* named types */
  const json_t *tables, *reducers, *procedures, *views, *schedules, *lifecycle, *routes, *environment, *row_level_security, *explicit_names;
};
/* Version 10, or 9 from older servers. */
int lc_cli_schema_fetch(struct lc_cli *cli, const struct lc_cli_target *t, struct lc_cli_schema *s);
bool lc_cli_schema_parse(struct lc_cli_schema *s, const char *text, size_t len);
void lc_cli_schema_free(struct lc_cli_schema *s);

/* Canonical name of the thing with this source name; kind is "Function" or "Table". */
const char *lc_cli_schema_name(const struct lc_cli_schema *s, const char *kind, const char *source);
const char *lc_cli_schema_function(const struct lc_cli_schema *s, const json_t *function);
const json_t *lc_cli_schema_find(const struct lc_cli_schema *s, const json_t *functions, const char *name); /* by either name */
const json_t *lc_cli_schema_parameters(const json_t *function);
const json_t *lc_cli_schema_resolve(const struct lc_cli_schema *s, const json_t *type); /* follows references */
const char *lc_cli_schema_field(const json_t *field);  /* name of an element or variant, or NULL */
const char *lc_cli_schema_option(const json_t *value); /* text in `{"some":"x"}` or "x", or NULL */
bool lc_cli_schema_is_special(const json_t *type, const char *element); /* a product of that one element */
const char *lc_cli_schema_type_name(const struct lc_cli_schema *s, size_t ref); /* NULL: not named */
/* A type as text: names of named types, `U64` or (lower) `u64`. */
void lc_cli_schema_put_type(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *type, bool lower);

#endif
