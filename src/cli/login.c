/* `login`, `login show`, `logout` (spec/04 §7.2).
 *
 * The web login is a poll: a request token, a page for the browser, the session once approved, and the session's SpacetimeDB token.
 * Callers: the table of cli.c.
 */
#include "cli_internal.h"
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POLL_SECONDS = 1, MAX_POLLS = 1800 };
#define AUTH_HOST "https://spacetimedb.com"
extern char **environ;

static int save(struct lc_cli *cli) {
  struct lc_error err = {0};
  return lc_cli_config_save(cli->config, &err) == LC_OK ? 0 : lc_cli_fail(cli, "%s", err.text);
}

static int show(struct lc_cli *cli, bool with_token) {
  char *token = lc_cli_config_get(cli->config, "spacetimedb_token");
  if (!token || !*token) {
    puts("You are not logged in. Run `spacetime login` to log in.");
    lc_free(token);
    return 0;
  }
  char *identity = lc_cli_token_identity(token);
  printf("You are logged in as %s\n", identity ? identity : "the owner of a token that names no identity");
  if (with_token) printf("Your auth token (don't share this!) is %s\n", token);
  lc_free(identity);
  lc_free(token);
  return 0;
}

static int announce(const char *token) {
  char *identity = lc_cli_token_identity(token);
  if (identity) printf("Logged in with identity %s\n", identity);
  else puts("Token saved.");
  lc_free(identity);
  return 0;
}

/* `data` of a successful answer of the login host; *out is a new reference. */
static int ask(struct lc_cli *cli, const char *method, const char *url, const char *session, json_t **out) {
  struct lc_cli_request q = {.method = method, .url = url, .token = session, .timeout_s = 60};
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, url);
  if (rc == 0) {
    json_t *answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
    const char *why = json_string_value(json_object_get(answer, "error"));
    *out = json_is_true(json_object_get(answer, "success")) ? json_incref(json_object_get(answer, "data")) : NULL;
    if (!*out) rc = lc_cli_fail(cli, "the login host refused: %s", why ? why : "no reason was given");
    json_decref(answer);
  }
  lc_buf_free(&reply.body);
  return rc;
}

static void open_browser(char *url) {
  char *argv[] = {(char *)(uintptr_t)"xdg-open", url, NULL};
  pid_t pid;
  int status;
  if (posix_spawnp(&pid, "xdg-open", NULL, NULL, argv, environ) == 0 && waitpid(pid, &status, 0) == pid && status == 0) return;
  puts("Unable to open the browser! Please open the address above yourself.");
}

/* One answer field of a login request, as text of its own. */
static int ask_text(struct lc_cli *cli, const char *method, const char *url, const char *session, const char *name, char **text) {
  json_t *data = NULL;
  int rc = ask(cli, method, url, session, &data);
  const char *value = json_string_value(json_object_get(data, name));
  if (rc == 0 && !value) rc = lc_cli_fail(cli, "the login host's answer holds no `%s`", name);
  if (rc == 0) *text = lc_cli_copy(value);
  json_decref(data);
  return rc;
}

static int web_login(struct lc_cli *cli, const char *host, bool browser) {
  char *session = lc_cli_config_get(cli->config, "web_session_token"), *request = NULL, *token = NULL;
  char *url = lc_cli_format("%s/api/auth/cli/login/request-token", host);
  int rc = 0;
  if (!session) {
    rc = ask_text(cli, "POST", url, NULL, "token", &request);
    if (rc == 0) {
      char *escaped = lc_cli_url_escape(request), *page = lc_cli_format("%s/login/cli?token=%s", host, escaped), *poll = lc_cli_format("%s/api/auth/cli/status?token=%s", host, escaped);
      printf("Opening %s in your browser.\nWaiting to hear response from the server...\n", page);
      fflush(stdout);
      if (browser) open_browser(page);
      for (int i = 0; rc == 0 && !session && i < MAX_POLLS; i++) {
        json_t *data = NULL;
        sleep(POLL_SECONDS);
        rc = ask(cli, "GET", poll, NULL, &data);
        const char *text = json_string_value(json_object_get(data, "sessionToken"));
        if (rc == 0 && json_is_true(json_object_get(data, "approved")) && text) session = lc_cli_copy(text);
        json_decref(data);
      }
      lc_free(escaped);
      lc_free(page);
      lc_free(poll);
      if (rc == 0 && !session) rc = lc_cli_fail(cli, "the login was not approved in time");
    }
    if (rc == 0) lc_cli_config_set(cli->config, "web_session_token", session);
  }
  if (rc == 0) {
    lc_free(url);
    url = lc_cli_format("%s/api/spacetimedb-token", host);
    rc = ask_text(cli, "POST", url, session, "token", &token);
  }
  if (rc == 0) {
    lc_cli_config_set(cli->config, "spacetimedb_token", token);
    rc = save(cli);
  }
  if (rc == 0) rc = announce(token);
  lc_free(url);
  lc_free(session);
  lc_free(request);
  lc_free(token);
  return rc;
}

int lc_cli_cmd_login(struct lc_cli *cli, const struct lc_cli_args *args) {
  bool has_token = lc_cli_has(args, "token");
  const char *token = lc_cli_value(args, "token"), *direct = lc_cli_value(args, "server-issued-login"), *host = lc_cli_value(args, "auth-host");
  bool is_show = args->n == 1 && strcmp(args->positional[0], "show") == 0;
  if (is_show) return show(cli, has_token);
  if (has_token && !token && args->n == 1) token = args->positional[0];
  else if (args->n > 0) return lc_cli_usage_error(cli, "unrecognized subcommand '%s'", args->positional[0]);
  if (has_token && !token) return lc_cli_usage_error(cli, "a value is required for '--token <VALUE>' but none was supplied");
  if (token && direct) return lc_cli_usage_error(cli, "the argument '--token <VALUE>' cannot be used with '--server-issued-login <VALUE>'");
  if (token) {
    for (const char *p = token; *p; p++)
      if ((unsigned char)*p < 0x21 || *p == 0x7f) return lc_cli_fail(cli, "a token holds no blanks and no control characters");
    lc_cli_config_set(cli->config, "spacetimedb_token", token);
    return save(cli) == 0 ? announce(token) : 1;
  }
  if (direct) {
    char *url = lc_cli_server_url(cli, direct), *fresh = NULL;
    int rc = url ? lc_cli_login_direct(cli, url, &fresh) : 1;
    if (rc == 0) rc = announce(fresh);
    lc_free(url);
    lc_free(fresh);
    return rc;
  }
  return web_login(cli, host ? host : AUTH_HOST, !lc_cli_has(args, "no-browser"));
}

int lc_cli_cmd_logout(struct lc_cli *cli, const struct lc_cli_args *args) {
  (void)args; /* --auth-host is accepted: the session is only forgotten, no host is asked */
  char *token = lc_cli_config_get(cli->config, "spacetimedb_token"), *session = lc_cli_config_get(cli->config, "web_session_token");
  char *identity = token ? lc_cli_token_identity(token) : NULL;
  int rc = 0;
  if (!token && !session) {
    puts("You are not logged in.");
  } else {
    lc_cli_config_set(cli->config, "spacetimedb_token", NULL);
    lc_cli_config_set(cli->config, "web_session_token", NULL);
    rc = save(cli);
    if (rc == 0 && identity) printf("Logged out (identity %s).\n", identity);
    else if (rc == 0) puts("Logged out.");
  }
  lc_free(token);
  lc_free(session);
  lc_free(identity);
  return rc;
}
