/* `server …`: the saved servers of cli.toml (spec/04 §7.2). Callers: the table of cli.c. */
#include "cli_internal.h"
#include <ftw.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

enum { MAX_OPEN_FOLDERS = 16, PING_SECONDS = 30 };

static int save(struct lc_cli *cli) {
  struct lc_error err = {0};
  return lc_cli_config_save(cli->config, &err) == LC_OK ? 0 : lc_cli_fail(cli, "%s", err.text);
}

static int find(struct lc_cli *cli, const char *name) {
  int i = lc_cli_config_find(cli->config, name);
  if (i < 0) lc_cli_fail(cli, "No such saved server configuration: %s\nAdd a new server configuration with:\n\tspacetime server add --url <url> <name>", name);
  return i;
}

static int cmd_list(struct lc_cli *cli, const struct lc_cli_args *args) {
  (void)args;
  static const char *const titles[] = {"DEFAULT", "HOSTNAME", "PROTOCOL", "NICKNAME"};
  struct lc_buf cells = {0}, out = {0};
  struct lc_arena arena = {0};
  char *def = lc_cli_config_get(cli->config, "default_server");
  unsigned n = lc_cli_config_servers(cli->config);
  for (int i = 0; i < 4; i++) {
    struct lc_slice title = lc_slice_str(titles[i]);
    lc_buf_append(&cells, &title, sizeof title);
  }
  for (unsigned i = 0; i < n; i++) {
    struct lc_cli_server s;
    lc_cli_config_server(cli->config, i, &s);
    bool is_default = def && ((s.nickname && strcmp(s.nickname, def) == 0) || strcmp(s.host, def) == 0);
    const char *const texts[] = {is_default ? "***" : "", s.host, s.protocol, s.nickname ? s.nickname : ""};
    for (int k = 0; k < 4; k++) {
      struct lc_slice cell = lc_arena_copy(&arena, lc_slice_str(texts[k]));
      lc_buf_append(&cells, &cell, sizeof cell);
    }
    lc_cli_server_free(&s);
  }
  if (!lc_buf_ok(&cells)) lc_cli_out_of_memory();
  lc_cli_table_plain(&out, 4, n, (const struct lc_slice *)(const void *)cells.data);
  lc_cli_print(&out);
  lc_buf_free(&out);
  lc_buf_free(&cells);
  lc_arena_free(&arena);
  lc_free(def);
  return 0;
}

static int cmd_set_default(struct lc_cli *cli, const struct lc_cli_args *args) {
  if (find(cli, args->positional[0]) < 0) return 1;
  lc_cli_config_set(cli->config, "default_server", args->positional[0]);
  return save(cli);
}

/* Splits `http://host:port/` into protocol and host. */
static int split_url(struct lc_cli *cli, const char *url, struct lc_cli_server *s) {
  const char *host = strstr(url, "://");
  if (!host || (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) || host[3] == 0 || host[3] == '/')
    return lc_cli_fail(cli, "Invalid url: %s. Expected http://HOST[:PORT] or https://HOST[:PORT].", url);
  s->protocol = lc_cli_copy(strncasecmp(url, "https", 5) == 0 ? "https" : "http");
  s->host = lc_cli_copy(host + 3);
  s->host[strcspn(s->host, "/")] = 0;
  return 0;
}

static int fetch_fingerprint(struct lc_cli *cli, const struct lc_cli_server *s, char **key) {
  char *url = lc_cli_format("%s://%s/v1/identity/public-key", s->protocol, s->host);
  struct lc_cli_request q = {.method = "GET", .url = url, .timeout_s = PING_SECONDS};
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, url);
  if (rc == 0) *key = lc_cli_copy((const char *)reply.body.data);
  lc_buf_free(&reply.body);
  lc_free(url);
  return rc;
}

static int cmd_add(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *url = lc_cli_value(args, "url"), *name = args->positional[0];
  struct lc_cli_server s = {0};
  if (!url) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --url <URL>");
  if (strstr(name, "://") || !*name) return lc_cli_fail(cli, "Invalid nickname: %s", name);
  int rc = split_url(cli, url, &s);
  if (rc == 0 && lc_cli_config_find(cli->config, name) >= 0) rc = lc_cli_fail(cli, "Server nickname %s is already in use", name);
  if (rc == 0 && lc_cli_config_find(cli->config, s.host) >= 0) rc = lc_cli_fail(cli, "Server host %s is already saved", s.host);
  if (rc == 0) s.nickname = lc_cli_copy(name);
  if (rc == 0 && !lc_cli_has(args, "no-fingerprint")) {
    rc = fetch_fingerprint(cli, &s, &s.fingerprint);
    if (rc == 0) printf("For server %s, got fingerprint:\n%s\n", name, s.fingerprint);
  }
  if (rc == 0) {
    lc_cli_config_put_server(cli->config, lc_cli_config_servers(cli->config), &s);
    char *def = lc_cli_config_get(cli->config, "default_server");
    if (lc_cli_has(args, "default") || !def) lc_cli_config_set(cli->config, "default_server", name);
    lc_free(def);
    printf("Host: %s\nProtocol: %s\n", s.host, s.protocol);
    rc = save(cli);
  }
  lc_cli_server_free(&s);
  return rc;
}

static int cmd_remove(struct lc_cli *cli, const struct lc_cli_args *args) {
  int i = find(cli, args->positional[0]);
  if (i < 0) return 1;
  struct lc_cli_server s;
  lc_cli_config_server(cli->config, (unsigned)i, &s);
  char *def = lc_cli_config_get(cli->config, "default_server");
  if (def && (strcmp(def, s.host) == 0 || (s.nickname && strcmp(def, s.nickname) == 0))) lc_cli_config_set(cli->config, "default_server", NULL);
  lc_cli_config_remove_server(cli->config, (unsigned)i);
  lc_free(def);
  lc_cli_server_free(&s);
  return save(cli);
}

static int cmd_fingerprint(struct lc_cli *cli, const struct lc_cli_args *args) {
  char *def = args->n ? NULL : lc_cli_config_get(cli->config, "default_server"), *key = NULL;
  const char *name = args->n ? args->positional[0] : def;
  int i = name ? find(cli, name) : -1, rc = i < 0 ? 1 : 0;
  if (!name) lc_cli_fail(cli, "No default server configuration.");
  struct lc_cli_server s = {0};
  if (rc == 0) {
    lc_cli_config_server(cli->config, (unsigned)i, &s);
    rc = fetch_fingerprint(cli, &s, &key);
  }
  if (rc == 0 && s.fingerprint && strcmp(s.fingerprint, key) == 0) {
    printf("Fingerprint is unchanged for server %s:\n%s\n", name, key);
  } else if (rc == 0) {
    printf("For server %s, got fingerprint:\n%s\n", name, key);
    bool go = !s.fingerprint || lc_cli_confirm(lc_cli_has(args, "yes"), "The saved fingerprint is another one. Save the new one?");
    lc_free(s.fingerprint);
    s.fingerprint = key;
    key = NULL;
    if (go) {
      lc_cli_config_put_server(cli->config, (unsigned)i, &s);
      rc = save(cli);
    }
  }
  lc_free(key);
  lc_free(def);
  lc_cli_server_free(&s);
  return rc;
}

static int cmd_edit(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *new_name = lc_cli_value(args, "new-name"), *url = lc_cli_value(args, "url");
  int i = find(cli, args->positional[0]), rc = 0;
  if (i < 0) return 1;
  struct lc_cli_server s, fresh = {0};
  lc_cli_config_server(cli->config, (unsigned)i, &s);
  char *def = lc_cli_config_get(cli->config, "default_server");
  bool was_default = def && s.nickname && strcmp(def, s.nickname) == 0;
  if (new_name && lc_cli_config_find(cli->config, new_name) >= 0) rc = lc_cli_fail(cli, "Server nickname %s is already in use", new_name);
  if (rc == 0 && url && (rc = split_url(cli, url, &fresh)) == 0) {
    lc_free(s.host);
    lc_free(s.protocol);
    lc_free(s.fingerprint);
    s.host = fresh.host;
    s.protocol = fresh.protocol;
    s.fingerprint = NULL;
    fresh = (struct lc_cli_server){0};
    if (!lc_cli_has(args, "no-fingerprint")) rc = fetch_fingerprint(cli, &s, &s.fingerprint);
    if (rc == 0 && s.fingerprint) printf("For server %s, got fingerprint:\n%s\n", args->positional[0], s.fingerprint);
  }
  if (rc == 0 && new_name) {
    lc_free(s.nickname);
    s.nickname = lc_cli_copy(new_name);
    if (was_default) lc_cli_config_set(cli->config, "default_server", new_name);
  }
  if (rc == 0) {
    lc_cli_config_put_server(cli->config, (unsigned)i, &s);
    if (s.nickname) printf("Nickname: %s\n", s.nickname);
    printf("Host: %s\nProtocol: %s\n", s.host, s.protocol);
    rc = save(cli);
  }
  lc_cli_server_free(&fresh);
  lc_cli_server_free(&s);
  lc_free(def);
  return rc;
}

static int cmd_ping(struct lc_cli *cli, const struct lc_cli_args *args) {
  char *base = lc_cli_server_url(cli, args->n ? args->positional[0] : NULL);
  if (!base) return 1;
  char *url = lc_cli_format("%s/v1/ping", base);
  struct lc_cli_request q = {.method = "GET", .url = url, .timeout_s = PING_SECONDS};
  struct lc_cli_reply reply = {0};
  if (lc_cli_http(cli, &q, &reply) != 0) {
    char *text = lc_cli_text(&cli->error), *cause = strstr(text, "    "); /* the cause alone fits one line */
    printf("Server could not be reached (%s): %s\n", cause ? cause + 4 : text, base);
    lc_free(text);
  } else if (reply.status >= 200 && reply.status < 300) {
    printf("Server is online: %s\n", base);
  } else if (reply.status == 404) {
    printf("Server returned 404 (Not Found): %s\n", base);
  } else {
    printf("Server could not be reached (%ld %s): %s\n", reply.status, lc_cli_http_reason(reply.status), base);
  }
  lc_buf_free(&reply.body);
  lc_free(url);
  lc_free(base);
  return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where) {
  (void)st;
  (void)type;
  (void)where;
  return remove(path);
}

static int cmd_clear(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *dir = lc_cli_value(args, "data-dir");
  if (!dir) dir = cli->data_dir;
  if (access(dir, F_OK) != 0) {
    puts("Local database not found. Nothing has been deleted.");
    return 0;
  }
  char *question = lc_cli_format("Are you sure you want to delete all data from the local database in %s?", dir);
  bool go = lc_cli_confirm(lc_cli_has(args, "yes"), question);
  lc_free(question);
  if (!go) {
    puts("Aborting");
    return 0;
  }
  if (nftw(dir, remove_entry, MAX_OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0) return lc_cli_fail(cli, "could not delete %s: %m", dir);
  printf("Deleted database: %s\n", dir);
  return 0;
}

#define YES {"yes", 'y', LC_CLI_OPTIONAL, "Answer yes to every question", NULL}
#define NO_FINGERPRINT {"no-fingerprint", 0, LC_CLI_FLAG, "Do not fetch the server's fingerprint", NULL}
#define END {NULL, 0, LC_CLI_FLAG, NULL, NULL}
static const struct lc_cli_option no_options[] = {END};
static const struct lc_cli_option yes_options[] = {YES, END};
static const struct lc_cli_option clear_options[] = {YES, {"data-dir", 0, LC_CLI_VALUE, "The folder of the server's data", NULL}, END};
static const struct lc_cli_option add_options[] = {
  {"url", 0, LC_CLI_VALUE, "The address of the server", NULL}, {"default", 'd', LC_CLI_FLAG, "Make it the default", NULL}, NO_FINGERPRINT, END};
static const struct lc_cli_option edit_options[] = {
  {"new-name", 0, LC_CLI_VALUE, "A new nickname", NULL}, {"url", 0, LC_CLI_VALUE, "A new address", NULL}, NO_FINGERPRINT, YES, END};
static const struct lc_cli_command commands[] = {
  {"list", "", "List the saved servers", false, false, 0, 0, no_options, cmd_list},
  {"set-default", "<server>", "Set the default server", false, false, 1, 1, no_options, cmd_set_default},
  {"add", "--url <URL> <name>", "Save a server", false, false, 1, 1, add_options, cmd_add},
  {"remove", "<server>", "Remove a saved server", false, false, 1, 1, yes_options, cmd_remove},
  {"fingerprint", "[server]", "Show or update a server's fingerprint", false, false, 0, 1, yes_options, cmd_fingerprint},
  {"ping", "[server]", "Check whether a server is online", false, false, 0, 1, no_options, cmd_ping},
  {"edit", "<server>", "Change a saved server", false, false, 1, 1, edit_options, cmd_edit},
  {"clear", "", "Delete the data of the local server", false, false, 0, 0, clear_options, cmd_clear},
};

int lc_cli_cmd_server(struct lc_cli *cli, const struct lc_cli_args *args) {
  char *prefix = lc_cli_format("%s server", cli->program);
  int rc = lc_cli_dispatch(cli, prefix, commands, sizeof commands / sizeof *commands, args->n, args->positional);
  lc_free(prefix);
  return rc;
}
