/* cli.toml: reading, changing and saving (spec/04 §7.1); toml.c reads the values.
 *
 * The file is kept as logical lines (a multi-line string or array is one line), so whatever this program does not know survives a save.
 * Top-level keys come before the first `[`; the nth server is the nth `[[server_configs]]` block. Values written are basic strings.
 * Callers: cli.c, session.c, server_cmds.c, login.c.
 */
#include "cli_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINES = 100000 };
struct lc_cli_config {
  char *path;
  bool is_new;
  size_t n, cap;
  char **lines;
};
/* spec/04 §7.1, except that a publish without --server goes to this machine and never to somebody else's cloud */
static const char initial[] = "default_server = \"local\"\n\n[[server_configs]]\nnickname = \"maincloud\"\nhost = \"maincloud.spacetimedb.com\"\nprotocol = \"https\"\n\n"
                              "[[server_configs]]\nnickname = \"local\"\nhost = \"127.0.0.1:3000\"\nprotocol = \"http\"\n";

static void insert_line(struct lc_cli_config *c, size_t at, char *line) {
  if (c->n == c->cap) {
    c->cap = c->cap ? c->cap * 2 : 64;
    char **lines = lc_realloc(c->lines, c->cap * sizeof *lines);
    if (!lines) lc_cli_out_of_memory();
    c->lines = lines;
  }
  memmove(c->lines + at + 1, c->lines + at, (c->n - at) * sizeof *c->lines);
  c->lines[at] = line;
  c->n++;
}

static void delete_line(struct lc_cli_config *c, size_t at) {
  lc_free(c->lines[at]);
  c->n--;
  memmove(c->lines + at, c->lines + at + 1, (c->n - at) * sizeof *c->lines);
}

static char *render_value(const char *key, const char *value) {
  struct lc_buf out = {0};
  lc_buf_printf(&out, "%s = \"", key);
  for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
    if (*p == '"' || *p == '\\') lc_buf_printf(&out, "\\%c", *p);
    else if (*p == '\n') lc_buf_str(&out, "\\n");
    else if (*p == '\r') lc_buf_str(&out, "\\r");
    else if (*p == '\t') lc_buf_str(&out, "\\t");
    else if (*p < 0x20 || *p == 0x7f) lc_buf_printf(&out, "\\u%04x", *p);
    else lc_buf_u8(&out, *p);
  }
  lc_buf_u8(&out, '"');
  return lc_cli_text(&out);
}

static bool is_header(const char *line) { return *lc_cli_toml_skip_blank(line) == '['; }
static bool is_server_header(const char *line) {
  const char *p = lc_cli_toml_skip_blank(line);
  if (strncmp(p, "[[", 2) != 0) return false;
  p = lc_cli_toml_skip_blank(p + 2);
  if (strncmp(p, "server_configs", 14) != 0) return false;
  return strncmp(lc_cli_toml_skip_blank(p + 14), "]]", 2) == 0;
}

static size_t section_end(const struct lc_cli_config *c, size_t from) {
  while (from < c->n && !is_header(c->lines[from])) from++;
  return from;
}

/* Lines [*from, *to) of the ith server, header excluded; false if there is none. */
static bool server_range(const struct lc_cli_config *c, unsigned i, size_t *from, size_t *to) {
  for (size_t at = 0; at < c->n; at++) {
    if (!is_server_header(c->lines[at]) || i-- > 0) continue;
    *from = at + 1;
    *to = section_end(c, at + 1);
    return true;
  }
  return false;
}

static char *get_in(const struct lc_cli_config *c, size_t from, size_t to, const char *key) {
  for (size_t i = from; i < to; i++) {
    const char *v = lc_cli_toml_value_of(c->lines[i], key);
    if (v) return lc_cli_toml_text(v);
  }
  return NULL;
}

static void set_in(struct lc_cli_config *c, size_t from, size_t to, const char *key, const char *value) {
  for (size_t i = from; i < to; i++) {
    if (!lc_cli_toml_value_of(c->lines[i], key)) continue;
    if (!value) {
      delete_line(c, i);
      return;
    }
    lc_free(c->lines[i]);
    c->lines[i] = render_value(key, value);
    return;
  }
  if (!value) return;
  while (to > from && *lc_cli_toml_skip_blank(c->lines[to - 1]) == 0) to--; /* before the empty lines that end the section */
  insert_line(c, to, render_value(key, value));
  if (to + 1 < c->n && is_header(c->lines[to + 1])) insert_line(c, to + 1, lc_cli_copy(""));
}

static void parse_lines(struct lc_cli_config *c, const char *text, size_t len) {
  const char *p = text, *end = text + len;
  while (p < end && c->n < MAX_LINES) {
    const char *stop = lc_cli_toml_line_end(p, end);
    size_t n = (size_t)(stop - p);
    if (n && p[n - 1] == '\r') n--;
    char *line = lc_strdup_n(p, n);
    if (!line) lc_cli_out_of_memory();
    insert_line(c, c->n, line);
    p = stop + 1;
  }
}

struct lc_cli_config *lc_cli_config_load(const char *path, struct lc_error *err) {
  struct lc_cli_config *c = lc_alloc_zero(1, sizeof *c);
  struct lc_buf text = {0};
  if (!c) lc_cli_out_of_memory();
  c->path = lc_cli_copy(path);
  FILE *f = fopen(path, "re");
  if (!f && errno != ENOENT) {
    lc_fail(err, LC_IO, "could not read %s: %s", path, strerror(errno));
    lc_cli_config_free(c);
    return NULL;
  }
  if (!f) {
    c->is_new = true;
    parse_lines(c, initial, sizeof initial - 1);
    return c;
  }
  char chunk[4096];
  size_t n;
  while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && text.len < (1u << 20)) lc_buf_append(&text, chunk, n);
  fclose(f);
  if (text.len >= (1u << 20) || memchr(text.data ? text.data : (const uint8_t *)"x", 0, text.data ? text.len : 1)) {
    lc_fail(err, LC_INVALID, "%s is not a configuration file: too large, or not text", path);
    lc_buf_free(&text);
    lc_cli_config_free(c);
    return NULL;
  }
  parse_lines(c, (const char *)text.data, text.len);
  lc_buf_free(&text);
  return c;
}

void lc_cli_config_free(struct lc_cli_config *c) {
  if (!c) return;
  for (size_t i = 0; i < c->n; i++) lc_free(c->lines[i]);
  lc_free(c->lines);
  lc_free(c->path);
  lc_free(c);
}

bool lc_cli_config_is_new(const struct lc_cli_config *c) { return c->is_new; }
const char *lc_cli_config_path(const struct lc_cli_config *c) { return c->path; }
char *lc_cli_config_get(const struct lc_cli_config *c, const char *key) { return get_in(c, 0, section_end(c, 0), key); }
void lc_cli_config_set(struct lc_cli_config *c, const char *key, const char *value) { set_in(c, 0, section_end(c, 0), key, value); }

unsigned lc_cli_config_servers(const struct lc_cli_config *c) {
  unsigned n = 0;
  for (size_t i = 0; i < c->n; i++) n += is_server_header(c->lines[i]);
  return n;
}

void lc_cli_config_server(const struct lc_cli_config *c, unsigned i, struct lc_cli_server *out) {
  size_t from = 0, to = 0;
  *out = (struct lc_cli_server){0};
  if (!server_range(c, i, &from, &to)) return;
  out->nickname = get_in(c, from, to, "nickname");
  out->host = get_in(c, from, to, "host");
  out->protocol = get_in(c, from, to, "protocol");
  out->fingerprint = get_in(c, from, to, "ecdsa_public_key");
  if (!out->host) out->host = lc_cli_copy("");
  if (!out->protocol) out->protocol = lc_cli_copy("https");
}

void lc_cli_server_free(struct lc_cli_server *s) {
  lc_free(s->nickname);
  lc_free(s->host);
  lc_free(s->protocol);
  lc_free(s->fingerprint);
  *s = (struct lc_cli_server){0};
}

void lc_cli_config_put_server(struct lc_cli_config *c, unsigned i, const struct lc_cli_server *s) {
  size_t from, to;
  if (!server_range(c, i, &from, &to)) {
    if (c->n && *lc_cli_toml_skip_blank(c->lines[c->n - 1]) != 0) insert_line(c, c->n, lc_cli_copy(""));
    insert_line(c, c->n, lc_cli_copy("[[server_configs]]"));
  }
  const char *const keys[] = {"nickname", "host", "protocol", "ecdsa_public_key"};
  const char *const values[] = {s->nickname, s->host, s->protocol, s->fingerprint};
  for (int k = 0; k < 4; k++) {
    if (!server_range(c, i, &from, &to)) return; /* i was beyond the count: nothing was meant */
    set_in(c, from, to, keys[k], values[k]);
  }
}

void lc_cli_config_remove_server(struct lc_cli_config *c, unsigned i) {
  size_t from, to;
  if (!server_range(c, i, &from, &to)) return;
  for (size_t n = to - from + 1; n > 0; n--) delete_line(c, from - 1);
}

int lc_cli_config_find(const struct lc_cli_config *c, const char *name) {
  for (int by_host = 0; by_host < 2; by_host++)
    for (unsigned i = 0, n = lc_cli_config_servers(c); i < n; i++) {
      struct lc_cli_server s;
      lc_cli_config_server(c, i, &s);
      const char *text = by_host ? s.host : s.nickname;
      bool found = text && strcmp(text, name) == 0;
      lc_cli_server_free(&s);
      if (found) return (int)i;
    }
  return -1;
}

char *lc_cli_config_render(const struct lc_cli_config *c) {
  struct lc_buf out = {0};
  for (size_t i = 0; i < c->n; i++) {
    lc_buf_str(&out, c->lines[i]);
    lc_buf_u8(&out, '\n');
  }
  return lc_cli_text(&out);
}

/* Creates the folders above `path`. */
static void make_parents(const char *path) {
  char *copy = lc_cli_copy(path);
  for (char *p = copy + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(copy, 0777); /* what is wrong shows when the file is opened */
    *p = '/';
  }
  lc_free(copy);
}

enum lc_status lc_cli_config_save(struct lc_cli_config *c, struct lc_error *err) {
  char *text = lc_cli_config_render(c), *temporary = lc_cli_format("%s.tmp", c->path);
  make_parents(c->path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); /* it holds a token */
  bool ok = fd >= 0;
  for (size_t at = 0, len = strlen(text); ok && at < len;) {
    ssize_t n = write(fd, text + at, len - at);
    if (n < 0 && errno == EINTR) continue;
    ok = n > 0;
    at += ok ? (size_t)n : 0;
  }
  ok = ok && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  ok = ok && rename(temporary, c->path) == 0;
  if (ok) fprintf(stderr, "Saving config to %s.\n", c->path);
  else lc_fail(err, LC_IO, "could not save the configuration to %s: %s", c->path, strerror(errno));
  if (!ok) unlink(temporary);
  c->is_new = c->is_new && !ok;
  lc_free(text);
  lc_free(temporary);
  return ok ? LC_OK : LC_IO;
}
