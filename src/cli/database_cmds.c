/* Commands on whole databases: list, delete, rename, lock, unlock, env, mcp (spec/04 §7.2, spec/07 §15.1). Callers: the table of cli.c. */
#include "cli_internal.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Sends and demands a 2xx answer. `body` may be NULL. */
static int simple(struct lc_cli *cli, const struct lc_cli_target *t, const char *method, const char *path, const char *content_type, const struct lc_slice *body) {
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_target_request(cli, t, method, path, content_type, body, &reply);
  if (rc == 0 && (reply.status < 200 || reply.status > 299)) rc = lc_cli_http_fail(cli, &reply, t->url);
  lc_buf_free(&reply.body);
  return rc;
}

/* ---- list ---- */

static int get_json(struct lc_cli *cli, const char *url, const char *token, json_t **out) {
  struct lc_cli_request q = {.method = "GET", .url = url, .token = token};
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, url);
  if (rc == 0) {
    *out = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
    if (!*out) rc = lc_cli_fail(cli, "the server's answer to %s is not JSON", url);
  }
  lc_buf_free(&reply.body);
  return rc;
}

static void put_cell(struct lc_buf *cells, struct lc_arena *arena, const char *text) {
  struct lc_slice s = lc_arena_copy(arena, lc_slice_str(text));
  lc_buf_append(cells, &s, sizeof s);
}

int lc_cli_cmd_list(struct lc_cli *cli, const struct lc_cli_args *args) {
  char *url = lc_cli_server_url(cli, lc_cli_value(args, "server")), *token = NULL, *me = NULL;
  int rc = url ? lc_cli_token(cli, url, false, &token) : 1;
  if (rc == 0 && !(me = lc_cli_token_identity(token))) rc = lc_cli_fail(cli, "the saved token names no identity. Run `spacetime login` again.");
  json_t *answer = NULL;
  if (rc == 0) {
    char *path = lc_cli_format("%s/v1/identity/%s/databases", url, me);
    rc = get_json(cli, path, token, &answer);
    lc_free(path);
  }
  const json_t *identities = json_object_get(answer, "identities");
  struct lc_buf cells = {0}, out = {0};
  struct lc_arena arena = {0};
  put_cell(&cells, &arena, "Database Name(s)");
  put_cell(&cells, &arena, "Identity");
  unsigned rows = 0;
  for (size_t i = 0; rc == 0 && i < json_array_size(identities); i++) {
    const char *id = json_string_value(json_array_get(identities, i));
    if (!id) continue;
    char *path = lc_cli_format("%s/v1/database/%s/names", url, id);
    json_t *names_answer = NULL;
    rc = get_json(cli, path, token, &names_answer);
    struct lc_buf names = {0};
    const json_t *names_json = json_object_get(names_answer, "names");
    for (size_t k = 0; k < json_array_size(names_json); k++) {
      const char *name = json_string_value(json_array_get(names_json, k));
      lc_buf_printf(&names, "%s%s", k ? ", " : "", name ? name : "");
    }
    char *text = lc_cli_text(&names);
    put_cell(&cells, &arena, text);
    put_cell(&cells, &arena, id);
    rows++;
    lc_free(text);
    lc_free(path);
    json_decref(names_answer);
  }
  if (rc == 0 && !lc_buf_ok(&cells)) lc_cli_out_of_memory();
  if (rc == 0 && rows == 0) {
    printf("No databases found for %s.\n", me);
  } else if (rc == 0) {
    printf("Associated databases for user %s:\n\n", me);
    lc_cli_table_psql(&out, 2, rows, (const struct lc_slice *)(const void *)cells.data);
    lc_cli_print(&out);
  }
  json_decref(answer);
  lc_buf_free(&cells);
  lc_buf_free(&out);
  lc_arena_free(&arena);
  lc_free(url);
  lc_free(token);
  lc_free(me);
  return rc;
}

/* ---- delete ---- */

static void print_tree(const json_t *node, unsigned depth) {
  const char *id = json_string_value(json_object_get(node, "database_identity"));
  const json_t *names = json_object_get(node, "database_names"), *children = json_object_get(node, "children");
  const char *name = json_string_value(json_array_get(names, 0));
  printf("%*s- %s%s%s\n", (int)depth * 2, "", name ? name : "", name ? " " : "", id ? id : "?");
  for (size_t i = 0; depth < 32 && i < json_array_size(children); i++) print_tree(json_array_get(children, i), depth + 1);
}

int lc_cli_cmd_delete(struct lc_cli *cli, const struct lc_cli_args *args) {
  struct lc_cli_target t;
  bool yes = lc_cli_has(args, "yes");
  int rc = lc_cli_target(cli, args, args->n ? args->positional[0] : NULL, &t);
  if (rc != 0) return rc;
  char *question = lc_cli_format("Are you sure you want to delete database %s? This action cannot be undone.", t.name);
  bool go = lc_cli_confirm(yes, question);
  lc_free(question);
  struct lc_cli_reply reply = {0};
  if (!go) puts("Aborting");
  else rc = lc_cli_target_request(cli, &t, "DELETE", "", NULL, NULL, &reply);
  if (go && rc == 0 && reply.status == 428) { /* editions with database trees ask again */
    json_t *answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL), *tree = json_object_get(answer, "database_tree");
    const char *token = json_string_value(json_object_get(answer, "confirmation_token"));
    lc_buf_free(&reply.body);
    const json_t *children = json_object_get(tree, "children");
    print_tree(json_object_get(tree, "root"), 0);
    for (size_t i = 0; i < json_array_size(children); i++) print_tree(json_array_get(children, i), 1);
    go = lc_cli_confirm(yes, "All of these databases will be deleted. Do you want to proceed?");
    if (go) {
      char *escaped = lc_cli_url_escape(token ? token : ""), *path = lc_cli_format("?token=%s", escaped);
      rc = lc_cli_target_request(cli, &t, "DELETE", path, NULL, NULL, &reply);
      lc_free(path);
      lc_free(escaped);
    } else {
      puts("Aborting");
    }
    json_decref(answer);
  }
  if (go && rc == 0 && (reply.status < 200 || reply.status > 299)) rc = lc_cli_http_fail(cli, &reply, t.url);
  lc_buf_free(&reply.body);
  lc_cli_target_free(&t);
  return rc;
}

/* ---- rename, lock, unlock ---- */

int lc_cli_cmd_rename(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *to = lc_cli_value(args, "to"), *why;
  if (!to) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --to <new name>");
  if (!lc_cli_database_name_ok(to, &why)) return lc_cli_fail(cli, "%s", why);
  struct lc_cli_target t;
  int rc = lc_cli_target(cli, args, args->positional[0], &t);
  if (rc != 0) return rc;
  char *body = lc_cli_format("[\"%s\"]", to);
  struct lc_slice slice = lc_slice_str(body);
  rc = simple(cli, &t, "PUT", "/names", "application/json", &slice);
  if (rc == 0) printf("Name set to %s for identity %s.\n", to, t.identity);
  lc_free(body);
  lc_cli_target_free(&t);
  return rc;
}

static int set_lock(struct lc_cli *cli, const struct lc_cli_args *args, bool locked) {
  struct lc_cli_target t;
  int rc = lc_cli_target(cli, args, args->n ? args->positional[0] : NULL, &t);
  if (rc != 0) return rc;
  rc = simple(cli, &t, "POST", locked ? "/lock" : "/unlock", NULL, NULL);
  if (rc == 0 && locked) printf("Database %s is now locked. It cannot be deleted until unlocked.\n", t.identity);
  else if (rc == 0) printf("Database %s is now unlocked.\n", t.identity);
  lc_cli_target_free(&t);
  return rc;
}
int lc_cli_cmd_lock(struct lc_cli *cli, const struct lc_cli_args *args) { return set_lock(cli, args, true); }
int lc_cli_cmd_unlock(struct lc_cli *cli, const struct lc_cli_args *args) { return set_lock(cli, args, false); }

/* ---- env ---- */

static bool env_key_ok(const char *key) {
  size_t n = strlen(key);
  if (n == 0 || n > 256 || (key[0] >= '0' && key[0] <= '9')) return false;
  return strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

int lc_cli_cmd_env(struct lc_cli *cli, const struct lc_cli_args *args) {
  bool list = strcmp(args->positional[0], "list") == 0;
  if (!list && strcmp(args->positional[0], "get") != 0) return lc_cli_usage_error(cli, "unrecognized subcommand '%s'", args->positional[0]);
  if (args->n != (list ? 2 : 3)) return lc_cli_usage_error(cli, list ? "`env list` takes a database" : "`env get` takes a database and a key");
  if (!lc_cli_confirmed_ok(cli, args)) return 2;
  if (!list && !env_key_ok(args->positional[2])) return lc_cli_fail(cli, "Invalid environment key name");
  struct lc_cli_target t;
  int rc = lc_cli_target(cli, args, args->positional[1], &t);
  if (rc != 0) return rc;
  const char *confirmed = lc_cli_value(args, "confirmed");
  char *query = list ? lc_cli_copy("SELECT key, value FROM st_env") : lc_cli_format("SELECT value FROM st_env WHERE key = '%s'", args->positional[2]);
  char *path = confirmed ? lc_cli_format("/sql?confirmed=%s", confirmed) : lc_cli_copy("/sql");
  struct lc_slice body = lc_slice_str(query);
  struct lc_cli_reply reply = {0};
  rc = lc_cli_target_request(cli, &t, "POST", path, "text/plain; charset=utf-8", &body, &reply);
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, t.url);
  struct lc_cli_json statements;
  struct lc_slice statement;
  if (rc == 0 && (!lc_cli_json_enter(lc_buf_slice(&reply.body), '[', &statements) || !lc_cli_json_item(&statements, &statement))) rc = lc_cli_fail(cli, "the server's answer is not an SQL result");
  if (rc == 0 && list) {
    struct lc_buf out = {0};
    struct lc_cli_sql_stats stats;
    struct lc_error err = {0};
    if (lc_cli_sql_table(&out, statement, &stats, &err) != LC_OK) rc = lc_cli_fail(cli, "%s", err.text);
    else lc_cli_print(&out);
    lc_buf_free(&out);
  } else if (rc == 0) {
    json_t *root = json_loadb((const char *)statement.data, statement.len, 0, NULL);
    const char *value = json_string_value(json_array_get(json_array_get(json_object_get(root, "rows"), 0), 0));
    if (value) puts(value);
    else rc = lc_cli_fail(cli, "Environment key is absent");
    json_decref(root);
  }
  lc_buf_free(&reply.body);
  lc_free(path);
  lc_free(query);
  lc_cli_target_free(&t);
  return rc;
}

/* ---- mcp ---- */

int lc_cli_cmd_mcp(struct lc_cli *cli, const struct lc_cli_args *args) {
  struct lc_cli_target t;
  int rc = lc_cli_target(cli, args, args->n ? args->positional[0] : getenv("SPACETIMEDB_DB_NAME"), &t);
  char *line;
  while (rc == 0 && (line = lc_cli_read_line())) {
    struct lc_slice body = lc_slice_str(line);
    struct lc_cli_reply reply = {0};
    if (body.len) rc = lc_cli_target_request(cli, &t, "POST", "/mcp", "application/json", &body, &reply);
    if (rc == 0 && reply.status == 200) printf("%s\n", (const char *)reply.body.data);
    else if (rc == 0 && reply.status >= 300) rc = lc_cli_http_fail(cli, &reply, t.url);
    fflush(stdout);
    lc_buf_free(&reply.body);
    lc_free(line);
  }
  lc_cli_target_free(&t);
  return rc;
}
