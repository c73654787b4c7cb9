/* Text form of a module definition (spec/07 §15.2), apart from the command so that tests reach it. */
#ifndef LC_CLI_DESCRIBE_H
#define LC_CLI_DESCRIBE_H
#include "schema.h"

void lc_cli_describe_text(struct lc_buf *out, const struct lc_cli_schema *s, bool colour);
/* An AlgebraicType in JSON as a resolved type in `arena`; references go through `types` (NULL: none allowed). NULL when damaged. */
const struct lc_type *lc_cli_type_from_json(struct lc_arena *arena, const json_t *json, const json_t *types);

#endif
