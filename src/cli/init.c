/* `init`: a new project from a template (spec/04 §8.3).
 *
 * The templates are the folders of templates/, packed by the build into an archive in the ustar format that is part of the program. A template's
 * `spacetimedb/` is its module, the rest a client. `@NAME@` and `@DATABASE@` in a file become the project's and the database's name; a file
 * `gitignore` is written as `.gitignore`. Nothing is written into a folder that holds anything. Callers: the table of cli.c.
 */
#include "cli_internal.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

extern const uint8_t _binary_templates_tar_start[], _binary_templates_tar_end[]; /* made by ld */

enum { TAR_BLOCK = 512, NAME_MAX_BYTES = 64, RANDOM_LETTERS = 5 };

static const struct template { const char *id, *language, *about; } templates[] = {
  {"basic-rs", "rust", "a module in Rust and a Rust client for the terminal"},
  {"basic-ts", "typescript", "a module in TypeScript and a client for Node"},
};

static const struct template *find_template(const char *id, const char *language) {
  for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
    if (id ? strcmp(templates[i].id, id) == 0 : strcmp(templates[i].language, language) == 0) return &templates[i];
  return NULL;
}

/* ---- the archive ---- */

struct member { char path[256]; struct lc_slice text; };

/* The regular file at *at or behind; false at the end. */
static bool next_member(const uint8_t **at, struct member *m) {
  while (*at + TAR_BLOCK <= _binary_templates_tar_end && **at) {
    const char *header = (const char *)*at;
    char size_text[13] = {0};
    memcpy(size_text, header + 124, 12);
    size_t size = strtoul(size_text, NULL, 8);
    bool regular = header[156] == '0' || header[156] == 0;
    snprintf(m->path, sizeof m->path, "%.100s", header);
    m->text = lc_slice(*at + TAR_BLOCK, size);
    *at += TAR_BLOCK + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    if (regular) return true;
  }
  return false;
}

/* ---- writing ---- */

static bool is_empty(const char *dir) {
  DIR *d = opendir(dir);
  struct dirent *e;
  bool empty = true;
  while (d && empty && (e = readdir(d))) empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
  if (d) closedir(d);
  return empty;
}

static int write_file(struct lc_cli *cli, const char *dir, const char *below, struct lc_slice text) {
  char *path = lc_cli_format("%s/%s", dir, below);
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0777); /* what fails here fails below */
    *p = '/';
  }
  FILE *f = fopen(path, "wb");
  bool ok = f && fwrite(text.data, 1, text.len, f) == text.len;
  if (f && fclose(f) != 0) ok = false;
  int rc = ok ? 0 : lc_cli_fail(cli, "cannot write %s: %s", path, strerror(errno));
  lc_free(path);
  return rc;
}

static int write_text(struct lc_cli *cli, const char *dir, const char *below, char *text) {
  int rc = write_file(cli, dir, below, lc_slice_str(text));
  lc_free(text);
  return rc;
}

static void fill_in(struct lc_buf *out, struct lc_slice text, const char *name, const char *database) {
  const struct { const char *mark, *value; } marks[] = {{"@NAME@", name}, {"@DATABASE@", database}};
  for (size_t i = 0; i < text.len;) {
    size_t k = 0, n = 0;
    for (; k < sizeof marks / sizeof *marks; k++)
      if ((n = strlen(marks[k].mark)) <= text.len - i && memcmp(text.data + i, marks[k].mark, n) == 0) break;
    if (k < sizeof marks / sizeof *marks) {
      lc_buf_str(out, marks[k].value);
      i += n;
    } else {
      lc_buf_u8(out, text.data[i++]);
    }
  }
}

static int write_template(struct lc_cli *cli, const struct template *t, const char *dir, const char *name, const char *database, bool server_only) {
  struct member m;
  int rc = 0;
  for (const uint8_t *at = _binary_templates_tar_start; rc == 0 && next_member(&at, &m);) {
    size_t n = strlen(t->id);
    if (strncmp(m.path, t->id, n) != 0 || m.path[n] != '/') continue;
    const char *below = m.path + n + 1;
    if (server_only && strncmp(below, "spacetimedb/", 12) != 0 && strcmp(below, "README.md") != 0 && strcmp(below, "gitignore") != 0) continue;
    struct lc_buf text = {0};
    fill_in(&text, m.text, name, database);
    if (!lc_buf_ok(&text)) lc_cli_out_of_memory();
    rc = write_file(cli, dir, strcmp(below, "gitignore") == 0 ? ".gitignore" : below, lc_buf_slice(&text));
    lc_buf_free(&text);
  }
  return rc;
}

/* The database's name and the server for the build tools of web clients, under the prefixes that they let through. */
static char *environment_text(const char *database, const char *host) {
  static const char *const prefixes[] = {"SPACETIMEDB_", "VITE_", "NEXT_PUBLIC_", "REACT_APP_", "EXPO_PUBLIC_", "PUBLIC_"};
  struct lc_buf text = {0};
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
    const char *infix = i == 0 ? "" : "SPACETIMEDB_";
    lc_buf_printf(&text, "%s%sDB_NAME=%s\n%s%sHOST=%s\n", prefixes[i], infix, database, prefixes[i], infix, host);
  }
  return lc_cli_text(&text);
}

/* ---- the command ---- */

/* Lower case letters, digits and single dashes, as names of databases want it. */
static char *database_name(const char *project) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  struct lc_buf name = {0};
  uint8_t random[RANDOM_LETTERS];
  for (const unsigned char *p = (const unsigned char *)project; *p && name.len < NAME_MAX_BYTES; p++) {
    if (isalnum(*p)) lc_buf_u8(&name, (uint8_t)tolower(*p));
    else if (name.len && name.data[name.len - 1] != '-') lc_buf_u8(&name, '-');
  }
  if (name.len && name.data[name.len - 1] != '-') lc_buf_u8(&name, '-');
  if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) lc_cli_out_of_memory();
  for (int i = 0; i < RANDOM_LETTERS; i++) lc_buf_u8(&name, (uint8_t)letters[random[i] % (sizeof letters - 1)]);
  return lc_cli_text(&name);
}

static char *ask(const char *question, const char *otherwise) {
  printf("%s [%s]: ", question, otherwise);
  fflush(stdout);
  char *line = lc_cli_read_line();
  if (line && *line) return line;
  lc_free(line);
  return lc_cli_copy(otherwise);
}

static int check_usage(struct lc_cli *cli, const struct lc_cli_args *args, bool silent) {
  const char *id = lc_cli_value(args, "template"), *language = lc_cli_value(args, "lang");
  if (id && !find_template(id, NULL)) {
    struct lc_buf known = {0};
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) lc_buf_printf(&known, "%s%s", i ? ", " : "", templates[i].id);
    int rc = lc_cli_usage_error(cli, "there is no template '%s'; there are: %.*s", id, (int)known.len, (const char *)known.data);
    lc_buf_free(&known);
    return rc;
  }
  if (language && !find_template(NULL, language)) return lc_cli_usage_error(cli, "invalid value '%s' for '--lang <LANG>'\n  [possible values: rust, typescript]", language);
  if (id && language) return lc_cli_usage_error(cli, "the argument '--template <TEMPLATE>' cannot be used with '--lang <LANG>'");
  if (silent && args->n == 0) return lc_cli_usage_error(cli, "with --non-interactive the name of the project must be given");
  if (silent && !id && !language) return lc_cli_usage_error(cli, "with --non-interactive --lang or --template must be given");
  return 0;
}

int lc_cli_cmd_init(struct lc_cli *cli, const struct lc_cli_args *args) {
  bool silent = lc_cli_has(args, "non-interactive") || !isatty(STDIN_FILENO);
  int rc = check_usage(cli, args, silent);
  if (rc != 0) return rc;
  char *name = args->n ? lc_cli_copy(args->positional[0]) : ask("Name of the project", "my-project");
  char *language = lc_cli_value(args, "template") ? NULL : lc_cli_value(args, "lang") ? lc_cli_copy(lc_cli_value(args, "lang")) : ask("Language of the module, rust or typescript", "typescript");
  const struct template *t = find_template(lc_cli_value(args, "template"), language ? language : "");
  char *dir = lc_cli_copy(lc_cli_value(args, "project-path") ? lc_cli_value(args, "project-path") : name);
  if (!t) rc = lc_cli_fail(cli, "there is no template for the language `%s`: rust, typescript", language);
  else if (!*name || strlen(name) > NAME_MAX_BYTES || strpbrk(name, "/\"\\@")) rc = lc_cli_fail(cli, "`%s` cannot be the name of a project", name);
  else if (!is_empty(dir)) rc = lc_cli_fail(cli, "the folder %s is not empty", dir);
  char *database = database_name(name);
  if (rc == 0 && mkdir(dir, 0777) != 0 && errno != EEXIST) rc = lc_cli_fail(cli, "cannot make the folder %s: %s", dir, strerror(errno));
  if (rc == 0) rc = write_template(cli, t, dir, name, database, lc_cli_has(args, "server-only"));
  if (rc == 0) {
    const char *out_dir = lc_cli_has(args, "server-only") ? NULL : "./src/module_bindings";
    char *generate = out_dir ? lc_cli_format(",\n  \"generate\": [{ \"language\": \"%s\", \"out-dir\": \"%s\" }]", t->language, out_dir) : lc_cli_copy("");
    rc = write_text(cli, dir, "spacetime.json", lc_cli_format("{\n  \"server\": \"local\",\n  \"module-path\": \"./spacetimedb\"%s\n}\n", generate));
    lc_free(generate);
  }
  if (rc == 0) rc = write_text(cli, dir, "spacetime.local.json", lc_cli_format("{\n  \"database\": \"%s\"\n}\n", database));
  if (rc == 0) rc = write_text(cli, dir, ".env.local", environment_text(database, "http://localhost:3000"));
  if (rc == 0) printf("Project `%s` is in %s, from the template %s: %s.\nIts database will be `%s`. What to do next is in %s/README.md.\n", name, dir, t->id, t->about, database, dir);
  lc_free(database);
  lc_free(dir);
  lc_free(language);
  lc_free(name);
  return rc;
}
