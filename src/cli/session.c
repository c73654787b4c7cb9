/* Which server, which token, which database: what every remote command settles first (spec/04 §7.1).
 *
 * A run without a saved token gets a new identity from the target server, and saves it. Callers: the commands.
 */
#include "cli_internal.h"
#include <jansson.h>
#include <stdio.h>
#include <strings.h>

static char *without_slashes(char *url) {
  for (size_t n = strlen(url); n && url[n - 1] == '/'; n--) url[n - 1] = 0;
  return url;
}

char *lc_cli_server_url(struct lc_cli *cli, const char *server) {
  char *fallback = server ? NULL : lc_cli_config_get(cli->config, "default_server");
  const char *name = server ? server : fallback;
  char *url = NULL;
  if (!name || !*name) {
    lc_cli_fail(cli, "No default server configuration.\nSet an existing server as the default with:\n\tspacetime server set-default <server>\nOr add a new server which will become the default:\n\tspacetime server add --url <url> <server> --default");
  } else if (strstr(name, "://")) {
    if (strncasecmp(name, "http://", 7) != 0 && strncasecmp(name, "https://", 8) != 0) lc_cli_fail(cli, "Invalid protocol in server URL: %s. Use http or https.", name);
    else url = without_slashes(lc_cli_copy(name));
  } else {
    int i = lc_cli_config_find(cli->config, name);
    if (i < 0) {
      lc_cli_fail(cli, "No such saved server configuration: %s\nAdd a new server configuration with:\n\tspacetime server add --url <url> <name>", name);
    } else {
      struct lc_cli_server s;
      lc_cli_config_server(cli->config, (unsigned)i, &s);
      url = without_slashes(lc_cli_format("%s://%s", s.protocol, s.host));
      lc_cli_server_free(&s);
    }
  }
  lc_free(fallback);
  return url;
}

bool lc_cli_url_is_local(const char *url) {
  const char *host = strstr(url, "://");
  host = host ? host + 3 : url;
  size_t n = strcspn(host, ":/");
  return (n == 9 && strncmp(host, "localhost", 9) == 0) || (n == 9 && strncmp(host, "127.0.0.1", 9) == 0);
}

/* ---- tokens ---- */

static int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

/* The payload of a JWT, not verified: this program only shows what the token says. */
static bool jwt_payload(const char *token, struct lc_buf *out) {
  const char *p = strchr(token, '.'), *end = p ? strchr(p + 1, '.') : NULL;
  if (!end) return false;
  unsigned bits = 0;
  int have = 0;
  for (p++; p < end && *p != '='; p++) {
    int d = base64_digit(*p);
    if (d < 0) return false;
    bits = bits << 6 | (unsigned)d;
    have += 6;
    if (have >= 8) {
      have -= 8;
      lc_buf_u8(out, (uint8_t)(bits >> have));
    }
  }
  return lc_buf_ok(out);
}

char *lc_cli_token_identity(const char *token) {
  struct lc_buf payload = {0};
  char *hex = NULL;
  if (jwt_payload(token, &payload)) {
    json_t *claims = json_loadb((const char *)payload.data, payload.len, 0, NULL);
    const char *iss = json_string_value(json_object_get(claims, "iss")), *sub = json_string_value(json_object_get(claims, "sub"));
    if (iss && sub && *iss && *sub) {
      struct lc_identity id;
      char text[65];
      lc_identity_from_claims(lc_slice_str(iss), lc_slice_str(sub), &id);
      lc_identity_hex(&id, text);
      hex = lc_cli_copy(text);
    }
    json_decref(claims);
  }
  lc_buf_free(&payload);
  return hex;
}

int lc_cli_login_direct(struct lc_cli *cli, const char *url, char **token) {
  char *path = lc_cli_format("%s/v1/identity", url);
  struct lc_cli_request q = {.method = "POST", .url = path};
  struct lc_cli_reply reply;
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, path);
  if (rc == 0) {
    json_t *answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
    const char *text = json_string_value(json_object_get(answer, "token"));
    if (text) *token = lc_cli_copy(text);
    else rc = lc_cli_fail(cli, "the server's answer to %s holds no token", path);
    json_decref(answer);
  }
  lc_buf_free(&reply.body);
  lc_free(path);
  if (rc != 0) return rc;
  struct lc_error err = {0};
  lc_cli_config_set(cli->config, "spacetimedb_token", *token);
  if (lc_cli_config_save(cli->config, &err) != LC_OK) {
    lc_free(*token);
    *token = NULL;
    return lc_cli_fail(cli, "%s", err.text);
  }
  fprintf(stderr, "We have logged in directly to your target server.\nWARNING: This login will NOT work for any other servers.\n");
  return 0;
}

/* True if the token was issued by a server itself and this one does not know it: every data folder has keys of its own. */
static bool is_strange(struct lc_cli *cli, const char *url, const char *token) {
  struct lc_buf payload = {0};
  bool own = jwt_payload(token, &payload) && payload.len && memmem(payload.data, payload.len, "\"iss\":\"localhost\"", 17) != NULL;
  lc_buf_free(&payload);
  if (!own) return false;
  char *path = lc_cli_format("%s/v1/ping", url);
  struct lc_cli_request q = {.method = "GET", .url = path, .token = token};
  struct lc_cli_reply r = {0};
  bool strange = lc_cli_http(cli, &q, &r) == 0 && r.status == 401 && memmem(r.body.data, r.body.len, "InvalidSignature", 16) != NULL;
  lc_buf_free(&r.body);
  lc_free(path);
  return strange;
}

int lc_cli_token(struct lc_cli *cli, const char *url, bool anonymous, char **token) {
  *token = NULL;
  if (anonymous) return 0;
  *token = lc_cli_config_get(cli->config, "spacetimedb_token");
  if (*token && **token && !is_strange(cli, url, *token)) return 0;
  if (*token && **token) {
    lc_cli_config_set(cli->config, "previous_spacetimedb_token", *token);
    fprintf(stderr, "The saved identity was issued by another server; getting one from %s (the old token is kept as previous_spacetimedb_token).\n", url);
  }
  lc_free(*token);
  return lc_cli_login_direct(cli, url, token);
}

/* ---- databases ---- */

bool lc_cli_is_identity(const char *text) {
  if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) text += 2;
  return strlen(text) == 64 && strspn(text, "0123456789abcdefABCDEF") == 64;
}

bool lc_cli_database_name_ok(const char *name, const char **why) {
  size_t n = strlen(name);
  *why = NULL;
  if (lc_cli_is_identity(name)) *why = "database names cannot be identities";
  else if (n == 0) *why = "database names cannot be empty";
  else if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != n) *why = "invalid characters in database name";
  else if (name[0] == '-' || name[n - 1] == '-' || strstr(name, "--")) *why = "invalid hyphen in database name";
  return !*why;
}

int lc_cli_database(struct lc_cli *cli, const char *url, const char *name, const char *token, char **identity) {
  *identity = NULL;
  if (lc_cli_is_identity(name)) {
    *identity = lc_cli_copy(name[1] == 'x' || name[1] == 'X' ? name + 2 : name);
    return 0;
  }
  char *escaped = lc_cli_url_escape(name), *path = lc_cli_format("%s/v1/database/%s/identity", url, escaped);
  struct lc_cli_request q = {.method = "GET", .url = path, .token = token};
  struct lc_cli_reply reply;
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status == 404) rc = lc_cli_fail(cli, "failed to find database `%s`.", name);
  else if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, path);
  if (rc == 0) {
    char *text = lc_cli_copy((const char *)reply.body.data);
    text[strcspn(text, "\r\n")] = 0;
    if (lc_cli_is_identity(text)) *identity = text;
    else {
      rc = lc_cli_fail(cli, "the server's answer to %s is not an identity", path);
      lc_free(text);
    }
  }
  lc_buf_free(&reply.body);
  lc_free(path);
  lc_free(escaped);
  return rc;
}

int lc_cli_target(struct lc_cli *cli, const struct lc_cli_args *args, const char *database, struct lc_cli_target *t) {
  const char *server = lc_cli_value(args, "server");
  struct lc_cli_project *project = NULL;
  char *own = NULL;
  *t = (struct lc_cli_target){0};
  if (!lc_cli_has(args, "no-config") && (!database || !server)) {
    project = lc_cli_project_load(cli, NULL);
    if (!project && cli->error.len) return 1;
    unsigned n = lc_cli_project_targets(project);
    for (unsigned i = 0; i < n; i++) {
      const char *name = lc_cli_project_text(project, i, "database");
      if (!database && name && n == 1) database = name;
      if (!server && database && name && strcmp(name, database) == 0) server = lc_cli_project_text(project, i, "server");
    }
    if (!database && n > 1) {
      struct lc_buf names = {0};
      for (unsigned i = 0; i < n; i++) lc_buf_printf(&names, "%s%s", i ? ", " : "", lc_cli_project_text(project, i, "database") ? lc_cli_project_text(project, i, "database") : "?");
      own = lc_cli_text(&names);
      lc_cli_fail(cli, "Multiple databases found in config: %s. Please specify which database to use.", own);
    }
  }
  int rc = 0;
  if (!database) rc = cli->error.len ? 1 : lc_cli_usage_error(cli, "the following required arguments were not provided:\n  <database>");
  if (rc == 0) {
    t->name = lc_cli_copy(database);
    t->url = lc_cli_server_url(cli, server);
    rc = t->url ? lc_cli_token(cli, t->url, lc_cli_has(args, "anonymous"), &t->token) : 1;
  }
  if (rc == 0) rc = lc_cli_database(cli, t->url, t->name, t->token, &t->identity);
  lc_cli_project_free(project);
  lc_free(own);
  if (rc != 0) lc_cli_target_free(t);
  return rc;
}

int lc_cli_leading_database(struct lc_cli *cli, const struct lc_cli_args *args, const char **database, int *next) {
  *database = NULL;
  *next = 0;
  if (args->n == 0) return 0;
  const char *first = args->positional[0];
  struct lc_cli_project *project = lc_cli_has(args, "no-config") ? NULL : lc_cli_project_load(cli, NULL);
  if (!project && cli->error.len) return 1;
  unsigned n = 0;
  bool known = false;
  struct lc_buf names = {0};
  for (unsigned i = 0; i < lc_cli_project_targets(project); i++) {
    const char *name = lc_cli_project_text(project, i, "database");
    if (!name) continue;
    known |= strcmp(name, first) == 0;
    lc_buf_printf(&names, "%s%s", n++ ? ", " : "", name);
  }
  char *list = lc_cli_text(&names);
  int rc = 0;
  if (n == 0 || known) {
    *database = first;
    *next = 1;
  } else if (n > 1) {
    rc = lc_cli_fail(cli, "Multiple databases found in config: %s. Please specify which database to use, or pass --no-config to use '%s' directly.", list, first);
  }
  lc_free(list);
  lc_cli_project_free(project);
  return rc;
}

void lc_cli_target_free(struct lc_cli_target *t) {
  lc_free(t->url);
  lc_free(t->token);
  lc_free(t->name);
  lc_free(t->identity);
  *t = (struct lc_cli_target){0};
}

int lc_cli_target_request(struct lc_cli *cli, const struct lc_cli_target *t, const char *method, const char *path, const char *content_type, const struct lc_slice *body, struct lc_cli_reply *reply) {
  char *url = lc_cli_format("%s/v1/database/%s%s", t->url, t->identity, path);
  struct lc_cli_request q = {.method = method, .url = url, .token = t->token, .content_type = content_type, .has_body = body != NULL};
  if (body) q.body = *body;
  int rc = lc_cli_http(cli, &q, reply);
  lc_free(url);
  return rc;
}
