/* What the files about module definitions share. */
#ifndef LC_TYPES_INTERNAL_H
#define LC_TYPES_INTERNAL_H
#include "types.h"

int types_compare_slices(struct lc_slice a, struct lc_slice b); /* bytewise */
int types_compare_type_names(const struct lc_type_def *a, const struct lc_type_def *b); /* by scope, then name */

#endif
