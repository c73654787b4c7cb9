/* Options of `start` from the command line and from DATA_DIR/config.toml (spec/04 §6.2), by the table of start_options.h.
 *
 * Whatever its source a value is checked here, and what is wrong is told with where it stands: `--NAME`, or the file's line. Keys that nobody knows are errors. A data
 * folder without the file gets one in which every key stands behind a #, so that defaults go on being those of the program. Callers: start.c.
 */
#include "cli_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum form { FLAG, TEXT, NUMBER, FRACTION, BYTES, TIME, LIST };
struct row { const char *name; enum form form; const char *section, *key, *default_text, *help; };
static const struct row rows[START_N] = {
#define START_OPTION(id, name, letter, form, section, key, default_text, help) [START_##id] = {name, form, section, key, default_text, help},
#define CONFIG_KEY(id, form, section, key, default_text, help) [START_##id] = {NULL, form, section, key, default_text, help},
#include "start_options.h"
};

/* NUMBER, a number with one of the units, or FLAG; false: it is none. */
static bool number_of(enum form form, const char *text, uint64_t *out) {
  static const struct { const char *unit; enum form form; uint64_t factor; } units[] = {
      {"", NUMBER, 1}, {"", BYTES, 1}, {"B", BYTES, 1}, {"KiB", BYTES, 1 << 10}, {"MiB", BYTES, 1 << 20}, {"GiB", BYTES, 1 << 30}, {"KB", BYTES, 1000}, {"MB", BYTES, 1000000}, {"GB", BYTES, 1000000000},
      {"", TIME, 1000}, {"ms", TIME, 1}, {"s", TIME, 1000}, {"m", TIME, 60000}, {"h", TIME, 3600000}};
  if (form == FLAG) {
    *out = strcmp(text, "true") == 0;
    return *out || strcmp(text, "false") == 0;
  }
  size_t n = strspn(text, "0123456789");
  if (n == 0 || n > 18) return false;
  const char *unit = text + n;
  while (*unit == ' ') unit++;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (units[i].form == form && strcmp(units[i].unit, unit) == 0) return !__builtin_mul_overflow((uint64_t)strtoull(text, NULL, 10), units[i].factor, out);
  return false;
}
static const char *expected(enum form form) {
  static const char *const texts[] = {"true or false", "a text", "a number", "a fraction", "a number of bytes, or one with KiB, MiB, GiB", "seconds, or a time like 250ms, 15s, 2m, 1h", "a list of texts"};
  return texts[form];
}
static bool is_fraction(const char *text) {
  char *end;
  double v = strtod(text, &end);
  return end != text && !*end && v >= 0 && v <= 1;
}

struct load { struct lc_cli_start_values *v; const char *path; };

static bool on_entry(void *ctx, const struct lc_cli_toml_entry *e, struct lc_error *err) {
  struct load *l = ctx;
  const struct row *known = NULL;
  uint64_t n;
  bool has_section = false;
  for (int id = 0; id < START_N && !known; id++) {
    if (!*rows[id].section || strcmp(rows[id].section, e->section) != 0) continue;
    has_section = true;
    if (strcmp(rows[id].key, e->key) == 0) known = &rows[id];
  }
  if (!*e->section) return lc_fail(err, LC_INVALID, "`%s` is in no section", e->key) == LC_OK;
  if (!has_section) return lc_fail(err, LC_INVALID, "there is no section [%s]", e->section) == LC_OK;
  if (!known) return lc_fail(err, LC_INVALID, "there is no `%s` in [%s]", e->key, e->section) == LC_OK;
  bool fits = false;
  switch (known->form) {
  case FLAG: fits = e->kind == LC_CLI_TOML_BOOL; break;
  case TEXT: fits = e->kind == LC_CLI_TOML_TEXT; break;
  case NUMBER: fits = e->kind == LC_CLI_TOML_NUMBER && number_of(NUMBER, e->value, &n); break;
  case FRACTION: fits = (e->kind == LC_CLI_TOML_FRACTION || e->kind == LC_CLI_TOML_NUMBER) && is_fraction(e->value); break;
  case BYTES:
  case TIME: fits = (e->kind == LC_CLI_TOML_NUMBER || e->kind == LC_CLI_TOML_TEXT) && number_of(known->form, e->value, &n); break;
  case LIST: fits = e->kind == LC_CLI_TOML_LIST || e->kind == LC_CLI_TOML_TEXT; break;
  }
  if (!fits) return lc_fail(err, LC_INVALID, "[%s] %s: %s is expected, not `%s`", e->section, e->key, expected(known->form), e->value) == LC_OK;
  size_t id = (size_t)(known - rows);
  if (l->v->given[id].text) return lc_fail(err, LC_INVALID, "[%s] %s: it is there twice", e->section, e->key) == LC_OK;
  l->v->given[id].text = lc_cli_copy(e->value);
  l->v->given[id].from = lc_cli_format("%s: line %u: [%s] %s", l->path, e->line, e->section, e->key);
  return true;
}

static void put_default(struct lc_buf *b, const struct row *r) {
  const char *d = r->default_text;
  bool bare = r->form == FLAG || r->form == NUMBER || r->form == FRACTION || (*d && strspn(d, "0123456789") == strlen(d));
  if (r->form == LIST && !*d) lc_buf_str(b, "[]");
  else if (r->form == LIST) lc_buf_printf(b, "[\"%s\"]", d);
  else if (bare) lc_buf_str(b, d);
  else lc_buf_printf(b, "\"%s\"", d);
}
/* The file for a folder that has none. */
static char *default_file(void) {
  struct lc_buf b = {0};
  lc_buf_str(&b, "# Options of the server. What is here counts before the defaults, which are shown, and after the command line.\n");
  for (int id = 0; id < START_N; id++) {
    bool is_first = *rows[id].section;
    for (int k = 0; k < id; k++) is_first = is_first && strcmp(rows[k].section, rows[id].section) != 0;
    if (!is_first) continue;
    lc_buf_printf(&b, "\n[%s]\n", rows[id].section);
    for (int k = id; k < START_N; k++) {
      if (strcmp(rows[k].section, rows[id].section) != 0 || strncmp(rows[k].help, "Without effect", 14) == 0) continue;
      lc_buf_printf(&b, "# %s\n# %s = ", rows[k].help, rows[k].key);
      put_default(&b, &rows[k]);
      lc_buf_u8(&b, '\n');
    }
  }
  return lc_cli_text(&b);
}
static void write_default(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return; /* a folder that cannot be written is told of by the server */
  char *text = default_file();
  size_t n = strlen(text);
  if (write(fd, text, n) != (ssize_t)n) {
    fprintf(stderr, "Warning: could not write %s: %s\n", path, strerror(errno));
    unlink(path);
  }
  close(fd);
  lc_free(text);
}

int lc_cli_start_values_load(struct lc_cli *cli, const struct lc_cli_args *args, const char *data_dir, struct lc_cli_start_values *v) {
  *v = (struct lc_cli_start_values){0};
  char *path = lc_cli_format("%s/config.toml", data_dir);
  int rc = 0;
  if (access(path, F_OK) == 0) {
    struct lc_buf text = {0};
    struct lc_error err = {0};
    struct load load = {v, path};
    if (!lc_cli_read_file(cli, path, &text)) rc = 1;
    else if (text.len && memchr(text.data, 0, text.len)) rc = lc_cli_fail(cli, "%s is not text", path);
    else {
      lc_buf_u8(&text, 0);
      if (!lc_buf_ok(&text)) lc_cli_out_of_memory();
      if (!lc_cli_toml_each((const char *)text.data, on_entry, &load, &err)) rc = lc_cli_fail(cli, "%s: %s", path, err.text);
    }
    lc_buf_free(&text);
  } else write_default(path);
  lc_free(path);
  for (int id = 0; id < START_N && rc == 0; id++) {
    const struct row *r = &rows[id];
    uint64_t n;
    if (!r->name || !lc_cli_has(args, r->name)) continue;
    const char *text = r->form == FLAG ? "true" : lc_cli_value(args, r->name);
    if ((r->form == NUMBER || r->form == BYTES || r->form == TIME) && !number_of(r->form, text, &n)) rc = lc_cli_usage_error(cli, "invalid value '%s' for '--%s <VALUE>': %s is expected", text, r->name, expected(r->form));
    lc_free(v->given[id].text);
    lc_free(v->given[id].from);
    v->given[id].text = lc_cli_copy(text);
    v->given[id].from = lc_cli_format("--%s", r->name);
  }
  return rc;
}
void lc_cli_start_values_free(struct lc_cli_start_values *v) {
  for (int id = 0; id < START_N; id++) {
    lc_free(v->given[id].text);
    lc_free(v->given[id].from);
  }
}
uint64_t lc_cli_start_number(const struct lc_cli_start_values *v, enum lc_cli_start_id id, uint64_t none) {
  uint64_t n;
  return v->given[id].text && number_of(rows[id].form, v->given[id].text, &n) ? n : none;
}
