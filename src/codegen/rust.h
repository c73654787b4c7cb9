/* What the two files of the Rust generator share. Callers: rust.c, rust_module.c. */
#ifndef LC_CODEGEN_RUST_H
#define LC_CODEGEN_RUST_H
#include "codegen_internal.h"
#include <stdio.h>

/* `name` as an identifier: words of the language become raw ones. */
struct lc_slice rust_name(struct cg_model *m, struct lc_slice name);
/* Appends a type as Rust writes it; *err tells what has no form. */
void rust_type(struct cg_model *m, struct lc_buf *out, const struct cg_space *s, const struct lc_type *t, unsigned depth, struct lc_error *err);

/* The named types that a file uses: begin, add, end. */
struct rust_uses { struct cg_model *m; bool **used; };
bool rust_uses_begin(struct rust_uses *u, struct cg_model *m); /* false: no memory */
void rust_uses_add(struct rust_uses *u, const struct cg_space *s, const struct lc_type *t);
void rust_uses_end(struct rust_uses *u, struct lc_buf *out, const struct cg_type *own); /* writes the `use` lines but for `own`; frees */

bool rust_module_file(struct cg_model *m, const char *head, struct lc_error *err); /* mod.rs; false: no memory */

#endif
