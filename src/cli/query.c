/* `call`, `sql` and `logs` (spec/04 §7.2, §7.4).
 *
 * `call` reads the schema first, to quote text arguments and to explain refusals. `logs --follow` prints lines as they arrive.
 * SQL results go through table.c. Callers: the command table of cli.c; database_cmds.c uses lc_cli_cmd_env's own query.
 */
#include "cli_internal.h"
#include "schema.h"
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

/* ---- call ---- */

/* The argument as JSON text: quoted for text parameters, wrapped for identities (spec/04 §7.2). */
static void put_argument(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *type, const char *text) {
  size_t n = strlen(text);
  type = lc_cli_schema_resolve(s, type);
  if (type && json_object_get(type, "String")) {
    json_t *v = json_loadb(text, n, JSON_DECODE_ANY, NULL);
    bool quoted = json_is_string(v);
    json_decref(v);
    if (quoted) lc_buf_str(out, text);
    else lc_json_escape(out, lc_slice(text, n));
    return;
  }
  bool hex = n > 0 && strspn(text, "0123456789abcdefABCDEF") == n;
  if (type && lc_cli_schema_is_special(type, "__identity__") && ((n > 2 && strncmp(text, "0x", 2) == 0) || (hex && n == 64))) lc_buf_printf(out, "[\"%s%s\"]", hex ? "0x" : "", text);
  else if (type && lc_cli_schema_is_special(type, "__connection_id__") && n > 2 && strncmp(text, "0x", 2) == 0 && strspn(text + 2, "0123456789abcdefABCDEF") == n - 2 && n <= 34) {
    __extension__ unsigned __int128 v = 0;
    char digits[48];
    size_t at = sizeof digits - 1;
    for (const char *p = text + 2; *p; p++) v = v << 4 | (unsigned)(*p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10);
    digits[at] = 0;
    do {
      digits[--at] = (char)('0' + (int)(v % 10));
      v /= 10;
    } while (v);
    lc_buf_printf(out, "[%s]", digits + at);
  } else {
    lc_buf_str(out, text);
  }
}

static size_t edit_distance(const char *a, const char *b) {
  size_t n = strlen(b), row[257];
  if (strlen(a) > 256 || n > 256) return SIZE_MAX;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
      if (up + 1 < best) best = up + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = up;
      row[j] = best;
    }
  }
  return row[n];
}

static int no_such_function(struct lc_cli *cli, const struct lc_cli_target *t, const struct lc_cli_schema *s, const char *name) {
  struct lc_buf text = {0};
  const char *closest = NULL;
  size_t best = SIZE_MAX, n = json_array_size(s->reducers);
  lc_buf_printf(&text, "No such reducer OR procedure `%s` for database `%s` resolving to identity `%s`.", name, t->name, t->identity);
  for (size_t i = 0; i < n; i++) {
    const char *other = lc_cli_schema_function(s, json_array_get(s->reducers, i));
    size_t d = other ? edit_distance(name, other) : SIZE_MAX;
    if (d < best) {
      best = d;
      closest = other;
    }
  }
  size_t allowed = strlen(name) / 3 > 2 ? strlen(name) / 3 : 2;
  if (n == 0) {
    lc_buf_str(&text, "\n\nThe database has no reducers.");
  } else if (closest && best <= allowed) {
    lc_buf_printf(&text, "\n\nA reducer with a similar name exists: `%s`", closest);
  } else {
    lc_buf_str(&text, "\n\nHere are some existing reducers:");
    for (size_t i = 0; i < n && i < 10; i++) {
      const char *other = lc_cli_schema_function(s, json_array_get(s->reducers, i));
      lc_buf_printf(&text, "\n- %s", other ? other : "?");
    }
    if (n > 10) lc_buf_printf(&text, "\n... (%zu reducers not shown)", n - 10);
  }
  char *message = lc_cli_text(&text);
  lc_cli_fail(cli, "%s", message);
  lc_free(message);
  return 1;
}

static int bad_arguments(struct lc_cli *cli, const struct lc_cli_target *t, const struct lc_cli_schema *s, const json_t *f, bool reducer, const char *name, const struct lc_cli_reply *reply) {
  const char *kind = reducer ? "reducer" : "procedure";
  struct lc_buf text = {0};
  lc_buf_printf(&text, "Invalid arguments provided for %s `%s` for database `%s` resolving to identity `%s`.\n\nThe %s has the following signature:\n\t%s(", kind, name, t->name, t->identity, kind, name);
  for (size_t i = 0; i < json_array_size(lc_cli_schema_parameters(f)); i++) {
    const json_t *p = json_array_get(lc_cli_schema_parameters(f), i);
    lc_buf_printf(&text, "%s%s: ", i ? ", " : "", lc_cli_schema_field(p) ? lc_cli_schema_field(p) : "_");
    lc_cli_schema_put_type(&text, s, json_object_get(p, "algebraic_type"), true);
  }
  lc_buf_u8(&text, ')');
  char *message = lc_cli_text(&text);
  lc_cli_fail(cli, "%s", message);
  lc_cli_cause(cli, "%s", (const char *)reply->body.data);
  lc_free(message);
  return 1;
}

int lc_cli_cmd_call(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *database;
  if (!lc_cli_confirmed_ok(cli, args)) return 2;
  int first, rc = lc_cli_leading_database(cli, args, &database, &first);
  if (rc != 0) return rc;
  if (args->n <= first) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  <function>");
  struct lc_cli_target t;
  rc = lc_cli_target(cli, args, database, &t);
  if (rc != 0) return rc;
  const char *name = args->positional[first];
  struct lc_cli_schema s = {0};
  rc = lc_cli_schema_fetch(cli, &t, &s);
  const json_t *reducer = NULL, *f = NULL;
  if (rc == 0) {
    reducer = f = lc_cli_schema_find(&s, s.reducers, name);
    if (!f) f = lc_cli_schema_find(&s, s.procedures, name);
  }
  struct lc_buf body = {0};
  lc_buf_u8(&body, '[');
  for (int i = first + 1; rc == 0 && i < args->n; i++) {
    if (i > first + 1) lc_buf_str(&body, ", ");
    put_argument(&body, &s, json_object_get(json_array_get(lc_cli_schema_parameters(f), (size_t)(i - first - 1)), "algebraic_type"), args->positional[i]);
  }
  lc_buf_u8(&body, ']');
  if (rc == 0) {
    const char *canonical = f ? lc_cli_schema_function(&s, f) : name;
    char *escaped = lc_cli_url_escape(canonical), *confirmed = lc_cli_value(args, "confirmed") ? lc_cli_format("?confirmed=%s", lc_cli_value(args, "confirmed")) : lc_cli_copy("");
    char *path = lc_cli_format("/call/%s%s", escaped, confirmed);
    struct lc_slice slice = lc_buf_slice(&body);
    struct lc_cli_reply reply = {0};
    rc = lc_cli_target_request(cli, &t, "POST", path, "application/json", &slice, &reply);
    if (rc == 0 && reply.status >= 200 && reply.status < 300) {
      if (reply.body.len) printf("%s\n", (const char *)reply.body.data);
    } else if (rc == 0) {
      const char *text = (const char *)reply.body.data;
      if (reply.status == 404 && !f) {
        rc = no_such_function(cli, &t, &s, name);
      } else if (reply.status == 400 && strncmp(text, "invalid arguments", 17) == 0 && f) {
        rc = bad_arguments(cli, &t, &s, f, reducer != NULL, canonical, &reply);
      } else {
        rc = lc_cli_fail(cli, "Response text: %s", text);
        lc_cli_cause(cli, "HTTP status %s error (%ld %s)", reply.status >= 500 ? "server" : "client", reply.status, lc_cli_http_reason(reply.status));
      }
    }
    lc_buf_free(&reply.body);
    lc_free(path);
    lc_free(confirmed);
    lc_free(escaped);
  }
  lc_buf_free(&body);
  lc_cli_schema_free(&s);
  lc_cli_target_free(&t);
  return rc;
}

/* ---- sql ---- */

static int run_sql(struct lc_cli *cli, const struct lc_cli_target *t, const char *query, const char *confirmed, bool json, bool interactive) {
  struct timespec before, after;
  struct lc_slice body = lc_slice_str(query);
  struct lc_cli_reply reply = {0};
  char *path = confirmed ? lc_cli_format("/sql?confirmed=%s", confirmed) : lc_cli_copy("/sql");
  clock_gettime(CLOCK_MONOTONIC, &before);
  int rc = lc_cli_target_request(cli, t, "POST", path, "text/plain; charset=utf-8", &body, &reply);
  clock_gettime(CLOCK_MONOTONIC, &after);
  lc_free(path);
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, t->url);
  struct lc_buf out = {0};
  struct lc_slice statement;
  struct lc_cli_json list;
  if (rc == 0 && json) {
    lc_cli_json_pretty(&out, lc_buf_slice(&reply.body));
    lc_buf_u8(&out, '\n');
  } else if (rc == 0) {
    if (!lc_cli_json_enter(lc_buf_slice(&reply.body), '[', &list)) rc = lc_cli_fail(cli, "the server's answer is not an SQL result");
    while (rc == 0 && lc_cli_json_item(&list, &statement)) {
      struct lc_cli_sql_stats stats;
      struct lc_error err = {0};
      if (lc_cli_sql_table(&out, statement, &stats, &err) != LC_OK) {
        rc = lc_cli_fail(cli, "%s", err.text);
      } else if (interactive) {
        lc_buf_printf(&out, "(%llu row%s) [", (unsigned long long)stats.rows, stats.rows == 1 ? "" : "s");
        if (stats.inserted) lc_buf_printf(&out, "inserted: %llu, ", (unsigned long long)stats.inserted);
        if (stats.deleted) lc_buf_printf(&out, "deleted: %llu, ", (unsigned long long)stats.deleted);
        if (stats.updated) lc_buf_printf(&out, "updated: %llu, ", (unsigned long long)stats.updated);
        lc_buf_printf(&out, "server: %.2fms]\n", (double)stats.duration_us / 1000);
      }
    }
    double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
    if (rc == 0 && interactive) lc_buf_printf(&out, "Roundtrip time: %.2fms\n", ms);
  }
  if (rc == 0) lc_cli_print(&out);
  fflush(stdout);
  lc_buf_free(&out);
  lc_buf_free(&reply.body);
  return rc;
}

static int interactive_sql(struct lc_cli *cli, const struct lc_cli_target *t, const char *confirmed) {
  for (;;) {
    printf("\xf0\x9f\xaa\x90%s> ", t->name);
    fflush(stdout);
    char *line = lc_cli_read_line();
    bool stop = !line || strcmp(line, ".exit") == 0;
    if (line && strcmp(line, ".clear") == 0) fputs("\033[2J\033[H", stdout);
    else if (line && !stop && line[strspn(line, " \t;")] && run_sql(cli, t, line, confirmed, false, true) != 0) {
      fprintf(stderr, "Error: %.*s\n", (int)cli->error.len, (const char *)cli->error.data);
      lc_buf_clear(&cli->error);
    }
    lc_free(line);
    if (stop) return 0;
  }
}

/* Reads `--format`; false (usage was printed) if it is neither. */
static bool format_of(struct lc_cli *cli, const struct lc_cli_args *args, bool *json) {
  const char *f = lc_cli_value(args, "format");
  *json = f && strcmp(f, "json") == 0;
  if (!f || *json || strcmp(f, "text") == 0) return true;
  lc_cli_usage_error(cli, "invalid value '%s' for '--format <VALUE>'\n  [possible values: text, json]", f);
  return false;
}

int lc_cli_cmd_sql(struct lc_cli *cli, const struct lc_cli_args *args) {
  bool interactive = lc_cli_has(args, "interactive"), json;
  const char *confirmed = lc_cli_value(args, "confirmed");
  if (!format_of(cli, args, &json)) return 2;
  if (!lc_cli_confirmed_ok(cli, args)) return 2;
  if (interactive && args->n > 1) return lc_cli_usage_error(cli, "the argument '--interactive' cannot be used with '<query>'");
  if (!interactive && args->n == 0) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  <query>");
  const char *database = interactive || args->n == 2 ? args->positional[0] : NULL;
  struct lc_cli_target t;
  int rc = lc_cli_target(cli, args, database, &t);
  if (rc != 0) return rc;
  rc = interactive ? interactive_sql(cli, &t, confirmed) : run_sql(cli, &t, args->positional[args->n - 1], confirmed, json, false);
  lc_cli_target_free(&t);
  return rc;
}

/* ---- logs ---- */

enum { LEVEL_ALL = -1 };
struct log_reader {
  struct lc_buf line;
  bool json, exact;
  int level;
};

static int level_number(const char *text) {
  static const char *const names[] = {"trace", "debug", "info", "warn", "error", "panic"};
  for (int i = 0; text && i < 6; i++)
    if (strcasecmp(names[i], text) == 0) return i;
  return -1;
}

static const char *field(const json_t *record, const char *name) {
  const char *text = json_string_value(json_object_get(record, name));
  return text && strcmp(text, "__spacetimedb__") != 0 ? text : NULL;
}

static void print_record(const struct log_reader *reader, const char *line, size_t len) {
  json_t *record = json_loadb(line, len, 0, NULL);
  const char *level = json_string_value(json_object_get(record, "level"));
  int number = level_number(level);
  if (record && reader->level != LEVEL_ALL && (reader->exact ? number != reader->level : number < reader->level)) {
    json_decref(record);
    return;
  }
  if (!record || reader->json) {
    printf("%.*s\n", (int)len, line);
    json_decref(record);
    return;
  }
  int64_t us = json_integer_value(json_object_get(record, "ts"));
  int64_t seconds = us / 1000000, fraction = us % 1000000;
  if (fraction < 0) {
    fraction += 1000000;
    seconds--;
  }
  time_t when = (time_t)seconds;
  struct tm tm;
  char time_text[64] = "", upper[16];
  if (gmtime_r(&when, &tm)) strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(upper, sizeof upper, "%s", level ? level : "");
  for (char *p = upper; *p; p++) *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
  printf("%s.%06lldZ %5s: ", time_text, (long long)fraction, upper);
  const char *function = field(record, "function"), *file = field(record, "filename");
  const json_t *number_json = json_object_get(record, "line_number");
  if (function) printf("%s%s", function, file ? " " : "");
  if (file) printf("%s", file);
  if (file && number_json) printf(":%lld", (long long)json_integer_value(number_json));
  const char *message = json_string_value(json_object_get(record, "message"));
  printf("%s%s\n", function || file ? ": " : "", message ? message : "");
  const json_t *trace = json_object_get(record, "trace");
  for (size_t i = 0; i < json_array_size(trace); i++) {
    const json_t *frame = json_array_get(trace, i);
    const char *module = json_string_value(json_object_get(frame, "module_name")), *func = json_string_value(json_object_get(frame, "func_name"));
    printf("    in %s :: %s\n", module ? module : "<unknown>", func ? func : "<unknown>");
  }
  json_decref(record);
}

static bool on_log_bytes(void *ctx, struct lc_slice bytes) {
  struct log_reader *r = ctx;
  lc_buf_slice_append(&r->line, bytes);
  if (!lc_buf_ok(&r->line)) return false;
  size_t start = 0;
  for (size_t i = 0; i < r->line.len; i++) {
    if (r->line.data[i] != '\n') continue;
    if (i > start) print_record(r, (const char *)r->line.data + start, i - start);
    start = i + 1;
  }
  memmove(r->line.data, r->line.data + start, r->line.len - start);
  r->line.len -= start;
  return fflush(stdout) == 0;
}

int lc_cli_cmd_logs(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *lines = lc_cli_value(args, "num-lines"), *level = lc_cli_value(args, "level");
  bool follow = lc_cli_has(args, "follow");
  struct log_reader reader = {.exact = lc_cli_has(args, "level-exact"), .level = level ? level_number(level) : LEVEL_ALL};
  if (!format_of(cli, args, &reader.json)) return 2;
  if (level && reader.level < 0) return lc_cli_usage_error(cli, "invalid value '%s' for '--level <VALUE>'\n  [possible values: trace, debug, info, warn, error, panic]", level);
  if (reader.exact && !level) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --level <VALUE>");
  if (lines && (*lines == 0 || strlen(lines) > 10 || strspn(lines, "0123456789") != strlen(lines) || strtoull(lines, NULL, 10) > UINT32_MAX)) return lc_cli_usage_error(cli, "invalid value '%s' for '--num-lines <VALUE>'", lines);
  struct lc_cli_target t;
  int rc = lc_cli_target(cli, args, args->n ? args->positional[0] : NULL, &t);
  if (rc != 0) return rc;
  if (follow && !lines) lines = "10";
  char *url = lc_cli_format("%s/v1/database/%s/logs?follow=%s%s%s", t.url, t.identity, follow ? "true" : "false", lines ? "&num_lines=" : "", lines ? lines : "");
  struct lc_cli_request q = {.method = "GET", .url = url, .token = t.token, .on_data = on_log_bytes, .ctx = &reader};
  struct lc_cli_reply reply = {0};
  rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && (reply.status < 200 || reply.status > 299)) rc = lc_cli_http_fail(cli, &reply, url);
  if (rc == 0 && reader.line.len) print_record(&reader, (const char *)reader.line.data, reader.line.len);
  lc_buf_free(&reader.line);
  lc_buf_free(&reply.body);
  lc_free(url);
  lc_cli_target_free(&t);
  return rc;
}
