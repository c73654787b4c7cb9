/* What the two files of the Rust generator share. Callers: rust.c, rust_module.c. */
#ifndef LC_CODEGEN_RUST_H
#define LC_CODEGEN_RUST_H
#include "codegen_internal.h"
#include <stdio.h>

/* `name` as an identifier: words of the language become raw ones. */
struct lc_slice rust_name(struct cg_model *m, struct lc_slice name);
/* Appends a type as Rust writes it; *err tells what has no form. */
void rust_type(struct cg_model *m, struct lc_buf *out, const struct cg_space *s, const struct lc_type *t, unsigned depth, struct lc_error *err);

bool rust_module_file(struct cg_model *m, const char *head, struct lc_error *err); /* mod.rs; false: no memory */

#endif
