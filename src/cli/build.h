/* What the languages of `build` share. Callers: build.c, build_typescript.c. */
#ifndef LC_CLI_BUILD_H
#define LC_CLI_BUILD_H
#include "cli_internal.h"

enum { LC_CLI_SPAWN_MAX_ARGUMENTS = 64 };

/* Runs argv in `dir`. `output`: standard output is collected there, else passed through. Returns the exit code, -1 if it did not start. */
int lc_cli_spawn(const char *dir, char *const *argv, struct lc_buf *output);
/* Splits `options`, which may be NULL, at blanks into argv from *n on, at most LC_CLI_SPAWN_MAX_ARGUMENTS in all, and ends argv. The words belong to the returned text. */
char *lc_cli_add_words(const char *options, char **argv, int *n);

/* A project with a package.json (spec/04 §8.2). *path: the bundle, the caller's. 0, or the exit code of the compiler or 1 with the error told. */
int lc_cli_build_typescript(struct lc_cli *cli, const char *dir, const char *options, char **path);

#endif
