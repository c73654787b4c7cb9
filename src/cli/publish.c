/* `publish`: program in hand or built, the check for breaking changes, the questions, the upload (spec/04 §7.3, spec/07 §7, §15.1).
 *
 * One command may publish several configured targets, one after another; the first failure ends it. Callers: the table of cli.c.
 */
#include "cli_internal.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ENV = 256, MAX_HEADERS = MAX_ENV + 2 };
enum clear_mode { CLEAR_NEVER, CLEAR_ON_CONFLICT, CLEAR_ALWAYS };

/* One target, settled from arguments and configuration. All text belongs to the job. */
struct job {
  char *url, *token, *name, *parent, *server_name, *organization;
  char *module_dir, *wasm_path, *js_path, *build_options, *replicas;
  bool break_clients, anonymous, configured, js;
  enum clear_mode clear;
  struct lc_buf program;
  struct lc_buf params; /* `&key=value`… for the publish request */
  unsigned n_headers;
  char *headers[MAX_HEADERS]; /* environment headers */
  json_t *env;                /* name → value */
};

/* Does --yes cover this category? */
static bool yes_for(const struct lc_cli_args *args, const char *category) {
  for (unsigned i = 0; i < args->n_options; i++) {
    if (strcmp(args->options[i].name, "yes") != 0) continue;
    const char *v = args->options[i].value;
    if (!v) return true;
    while (*v) {
      size_t n = strcspn(v, ",");
      if ((n == 3 && strncmp(v, "all", 3) == 0) || (strlen(category) == n && strncmp(v, category, n) == 0)) return true;
      v += n + (v[n] == ',');
    }
  }
  return false;
}

static bool yes_values_ok(const struct lc_cli_args *args) {
  static const char *const known[] = {"all", "remote", "migrate", "break-clients", "skip-login", "delete-data"};
  for (unsigned i = 0; i < args->n_options; i++) {
    const char *v = strcmp(args->options[i].name, "yes") == 0 ? args->options[i].value : NULL;
    while (v && *v) {
      size_t n = strcspn(v, ","), k = 0;
      while (k < 6 && !(strlen(known[k]) == n && strncmp(v, known[k], n) == 0)) k++;
      if (k == 6) return false;
      v += n + (v[n] == ',');
    }
  }
  return true;
}

/* ---- environment (spec/07 §7.2, §15.1) ---- */

static bool env_key_ok(const char *key) {
  size_t n = strlen(key);
  if (n == 0 || n > 256 || (key[0] >= '0' && key[0] <= '9')) return false;
  return strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* The header value `KEY=VALUE`: bare if possible, else a JSON string of ASCII characters only. */
static void put_env_value(struct lc_buf *out, const char *value) {
  bool bare = true;
  for (const unsigned char *p = (const unsigned char *)value; *p; p++) bare &= *p > 0x20 && *p < 0x7f && !strchr("\"',\\", *p);
  if (bare) {
    lc_buf_str(out, value);
    return;
  }
  lc_buf_u8(out, '"');
  for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
    uint32_t c = *p;
    unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    if (more) c &= 0x3fu >> more;
    for (; more && (p[1] & 0xc0) == 0x80; more--) c = c << 6 | (*++p & 0x3f);
    if (c == '"' || c == '\\') lc_buf_printf(out, "\\%c", (int)c);
    else if (c == '\n') lc_buf_str(out, "\\n");
    else if (c == '\r') lc_buf_str(out, "\\r");
    else if (c == '\t') lc_buf_str(out, "\\t");
    else if (c >= 0x20 && c < 0x7f) lc_buf_u8(out, (uint8_t)c);
    else if (c < 0x10000) lc_buf_printf(out, "\\u%04x", c);
    else lc_buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
  }
  lc_buf_u8(out, '"');
}

static void set_env(struct job *job, const char *key, const char *value, bool from_shell) {
  printf("Environment %s (%s)\n", key, from_shell ? "shell" : "config");
  json_object_set_new(job->env, key, json_string(value));
}

/* The declarations the database has now, or NULL: a new database, another owner, or a server without environments. */
static json_t *read_declarations(struct lc_cli *cli, const struct job *job) {
  if (!job->name) return NULL;
  char *url = lc_cli_format("%s/v1/database/%s/environment", job->url, job->name);
  struct lc_cli_request q = {.method = "GET", .url = url, .token = job->token};
  struct lc_cli_reply reply = {0};
  json_t *answer = NULL;
  if (lc_cli_http(cli, &q, &reply) == 0 && reply.status == 200) answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
  lc_buf_clear(&cli->error);
  lc_buf_free(&reply.body);
  lc_free(url);
  return answer;
}

/* Fills job->env from configuration and shell, and the headers that carry it. *metadata: see read_declarations. */
static int collect_env(struct lc_cli *cli, const struct lc_cli_args *args, const struct lc_cli_project *p, unsigned target, struct job *job, json_t **metadata) {
  const char *key, *shell;
  char *value;
  unsigned kind, i;
  job->env = json_object();
  *metadata = read_declarations(cli, job);
  for (i = 0; (kind = lc_cli_project_env(p, target, i, &key, &value)) != 0; i++) {
    if (kind == 2) return lc_cli_fail(cli, "environment value `%s` in spacetime.json must be a string, a number or a boolean", key);
    if (!env_key_ok(key)) {
      lc_free(value);
      return lc_cli_fail(cli, "Invalid environment key name");
    }
    if (i >= MAX_ENV) {
      lc_free(value);
      return lc_cli_fail(cli, "environment store exceeds 256 variables");
    }
    shell = getenv(key);
    set_env(job, key, shell ? shell : value, shell != NULL);
    lc_free(value);
  }
  const json_t *declarations = json_object_get(*metadata, "declarations");
  for (size_t d = 0; d < json_array_size(declarations) && d < MAX_ENV; d++) {
    key = json_string_value(json_object_get(json_array_get(declarations, d), "name"));
    if (key && !json_object_get(job->env, key) && (shell = getenv(key))) set_env(job, key, shell, true);
  }
  const char *name;
  json_t *v;
  if (json_object_size(job->env) > MAX_ENV) return lc_cli_fail(cli, "environment store exceeds 256 variables");
  json_object_foreach(job->env, name, v) {
    struct lc_buf line = {0};
    lc_buf_printf(&line, "spacetime-environment: %s=", name);
    put_env_value(&line, json_string_value(v));
    job->headers[job->n_headers++] = lc_cli_text(&line);
  }
  if (lc_cli_has(args, "replace-env")) {
    job->headers[job->n_headers++] = lc_cli_copy("spacetime-environment-remove: *");
  } else if (lc_cli_has(args, "unset-env")) {
    struct lc_buf line = {0};
    lc_buf_str(&line, "spacetime-environment-remove: ");
    for (i = 0; (key = lc_cli_value_nth(args, "unset-env", i)); i++) {
      if (!env_key_ok(key)) {
        lc_buf_free(&line);
        return lc_cli_fail(cli, "Invalid environment key name");
      }
      lc_buf_printf(&line, "%s%s", i ? ", " : "", key);
    }
    job->headers[job->n_headers++] = lc_cli_text(&line);
  }
  if (json_object_size(job->env) > 0 && !lc_cli_url_is_local(job->url)) {
    printf("You are about to publish environment values to a non-local server: %s\n", strstr(job->url, "://") + 3);
    if (!lc_cli_confirm(yes_for(args, "remote"), "Are you sure you want to proceed?")) return lc_cli_fail(cli, "Publish aborted by user.");
  }
  return 0;
}

/* `{"MissingRequiredEnvironment":…}` or `"VersionConflict"` as an error. */
static int env_failure(struct lc_cli *cli, const json_t *e) {
  const json_t *keys = json_object_get(json_object_get(e, "MissingRequiredEnvironment"), "keys");
  if (keys) {
    char *list = json_dumps(keys, JSON_COMPACT);
    lc_cli_fail(cli, "Missing required environment variable(s) %s", list ? list : "");
    free(list);
  } else {
    lc_cli_fail(cli, "database program changed before publication; reload environment metadata and retry");
  }
  return 1;
}

static int publish_env_only(struct lc_cli *cli, const struct lc_cli_args *args, struct job *job, const json_t *metadata) {
  const char *hash = json_string_value(json_object_get(metadata, "module_hash"));
  if (!job->name) return lc_cli_fail(cli, "--env-only needs the name of a database");
  if (!hash) return lc_cli_fail(cli, "the server gives no environment of `%s`: the database may not exist, may not be yours, or the server is too old", job->name);
  bool replace = lc_cli_has(args, "replace-env");
  char *escaped = lc_cli_url_escape(hash), *url = lc_cli_format("%s/v1/database/%s/environment?expected_module_hash=%s", job->url, job->name, escaped), *body = json_dumps(job->env, JSON_COMPACT);
  const char *headers[2] = {NULL, NULL};
  for (unsigned i = 0; i < job->n_headers; i++)
    if (!replace && strncmp(job->headers[i], "spacetime-environment-remove", 28) == 0) headers[0] = job->headers[i];
  struct lc_cli_request q = {.method = replace ? "PUT" : "PATCH", .url = url, .token = job->token, .content_type = "application/json", .headers = headers, .has_body = true, .body = lc_slice_str(body ? body : "{}")};
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status == 200) {
    puts("Successfully updated environment");
  } else if (rc == 0) {
    json_t *answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
    const json_t *e = json_object_get(answer, "Err");
    rc = e ? env_failure(cli, e) : lc_cli_http_fail(cli, &reply, url);
    json_decref(answer);
  }
  lc_buf_free(&reply.body);
  free(body);
  lc_free(url);
  lc_free(escaped);
  return rc;
}

/* ---- the check before publishing ---- */

static int confirm_clear(struct lc_cli *cli, const struct lc_cli_args *args, struct job *job, bool *stop) {
  printf("This will DESTROY the current %s module, and ALL corresponding data.\n", job->name);
  char *question = lc_cli_format("Are you sure you want to proceed? [deleting %s]", job->name);
  bool go = lc_cli_confirm(yes_for(args, "delete-data"), question);
  lc_free(question);
  (void)cli;
  if (go) lc_buf_str(&job->params, "&clear=true");
  else puts("Aborted.");
  *stop = !go;
  return 0;
}

static int confirm_upgrade(struct lc_cli *cli, const struct lc_cli_args *args) {
  puts("This update is a major version upgrade from 1.0 to 2.0.\nClients built for version 1 will not work with the new module without changes, and the update cannot be undone.");
  printf("Please type 'upgrade' to accept this change: ");
  if (yes_for(args, "migrate")) {
    puts("\nSkipping confirmation due to --yes");
    return 0;
  }
  fflush(stdout);
  char *line = lc_cli_read_line();
  bool go = line && strcmp(line, "upgrade") == 0;
  lc_free(line);
  return go ? 0 : lc_cli_fail(cli, "Publishing aborted by user");
}

static int apply_plan(struct lc_cli *cli, const struct lc_cli_args *args, struct job *job, const json_t *answer, bool *stop) {
  const json_t *manual = json_object_get(answer, "ManualMigrate"), *automatic = json_object_get(answer, "AutoMigrate");
  if (json_is_true(json_object_get(manual ? manual : automatic, "major_version_upgrade")) && confirm_upgrade(cli, args) != 0) return 1;
  if (manual) {
    const char *reason = json_string_value(json_object_get(manual, "reason"));
    if (reason) puts(reason);
    if (job->clear == CLEAR_ON_CONFLICT) return confirm_clear(cli, args, job, stop);
    return lc_cli_fail(cli, "Aborting because publishing would require manual migration or deletion of data and --delete-data was not specified.");
  }
  const char *plan = json_string_value(json_object_get(automatic, "migrate_plan")), *token = json_string_value(json_object_get(automatic, "token"));
  if (!automatic || !token) return lc_cli_fail(cli, "the server's answer to the pre-publish check cannot be read");
  if (plan && *plan) puts(plan);
  if (json_is_true(json_object_get(automatic, "break_clients")) && !job->break_clients &&
      !lc_cli_confirm(yes_for(args, "break-clients"), "The above changes will BREAK existing clients. Do you want to proceed?"))
    return lc_cli_fail(cli, "Publishing aborted by user");
  char *escaped = lc_cli_url_escape(token);
  lc_buf_printf(&job->params, "&token=%s&policy=BreakClients", escaped);
  lc_free(escaped);
  return 0;
}

static int pre_publish(struct lc_cli *cli, const struct lc_cli_args *args, struct job *job, bool *stop) {
  if (job->clear == CLEAR_ALWAYS) return confirm_clear(cli, args, job, stop);
  puts("Checking for breaking changes...");
  fflush(stdout);
  const char *style = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") ? "AnsiColor" : "NoColor";
  char *url = lc_cli_format("%s/v1/database/%s/pre_publish?style=%s&pretty_print_style=%s&host_type=%s", job->url, job->name, style, style, job->js ? "Js" : "Wasm");
  struct lc_cli_request q = {.method = "POST", .url = url, .token = job->token, .content_type = job->js ? "text/javascript" : "application/wasm", .has_body = true, .body = lc_buf_slice(&job->program)};
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0 && reply.status == 200) {
    json_t *answer = json_loadb((const char *)reply.body.data, reply.body.len, 0, NULL);
    rc = apply_plan(cli, args, job, answer, stop);
    json_decref(answer);
  } else if (rc == 0 && reply.status != 404 && reply.status != 405) { /* 404: a new database; 405: no such check */
    rc = lc_cli_fail(cli, "Pre-publish check failed with status %ld %s: %s", reply.status, lc_cli_http_reason(reply.status), (const char *)reply.body.data);
  }
  lc_buf_free(&reply.body);
  lc_free(url);
  return rc;
}

/* ---- the upload ---- */

static int show_result(struct lc_cli *cli, const struct job *job, const struct lc_cli_reply *reply, const char *url) {
  json_t *answer = json_loadb((const char *)reply->body.data, reply->body.len, 0, NULL);
  const json_t *success = json_object_get(answer, "Success"), *denied = json_object_get(answer, "PermissionDenied"), *env = json_object_get(answer, "EnvironmentError");
  const char *id = json_string_value(json_object_get(success, "database_identity")), *domain = json_string_value(json_object_get(success, "domain")), *op = json_string_value(json_object_get(success, "op"));
  int rc = 0;
  if (reply->status >= 200 && reply->status < 300 && id) {
    const char *what = op && strcmp(op, "created") == 0 ? "Created new" : "Updated";
    if (domain) printf("%s database with name: %s, identity: %s\n", what, domain, id);
    else printf("%s database with identity: %s\n", what, id);
    if (domain && strstr(job->url, "://maincloud.spacetimedb.com")) printf("Dashboard: https://spacetimedb.com/%s\n", domain);
  } else if (env) {
    rc = env_failure(cli, env);
  } else if (denied) {
    const char *name = json_string_value(json_object_get(denied, "name"));
    rc = lc_cli_fail(cli, "Permission denied: the name `%s` belongs to another identity", name ? name : job->name ? job->name : "");
  } else {
    rc = lc_cli_http_fail(cli, reply, url);
  }
  json_decref(answer);
  return rc;
}

static int upload(struct lc_cli *cli, struct job *job) {
  puts("Publishing module...");
  fflush(stdout);
  struct lc_buf query = {0};
  lc_buf_printf(&query, "host_type=%s", job->js ? "Js" : "Wasm");
  lc_buf_slice_append(&query, lc_buf_slice(&job->params));
  const char *const keys[] = {"parent", "organization", "num_replicas"};
  const char *const values[] = {job->parent, job->organization, job->replicas};
  for (int i = 0; i < 3; i++) {
    if (!values[i]) continue;
    char *escaped = lc_cli_url_escape(values[i]);
    lc_buf_printf(&query, "&%s=%s", keys[i], escaped);
    lc_free(escaped);
  }
  char *text = lc_cli_text(&query), *url = lc_cli_format("%s/v1/database%s%s?%s", job->url, job->name ? "/" : "", job->name ? job->name : "", text);
  job->headers[job->n_headers] = NULL;
  struct lc_cli_request q = {.method = job->name ? "PUT" : "POST", .url = url, .token = job->token, .content_type = job->js ? "text/javascript" : "application/wasm", .headers = (const char *const *)job->headers, .has_body = true, .body = lc_buf_slice(&job->program)};
  struct lc_cli_reply reply = {0};
  int rc = lc_cli_http(cli, &q, &reply);
  if (rc == 0) rc = show_result(cli, job, &reply, url);
  lc_buf_free(&reply.body);
  lc_free(url);
  lc_free(text);
  return rc;
}

/* ---- one target ---- */

static int load_program(struct lc_cli *cli, const struct lc_cli_args *args, struct job *job) {
  char *built = NULL;
  int rc = 0;
  if (job->js_path || job->wasm_path) {
    job->js = job->js_path != NULL;
    printf("(%s) Skipping build. Instead we are publishing %s\n", job->js ? "JS" : "WASM", job->js ? job->js_path : job->wasm_path);
  } else {
    rc = lc_cli_build(cli, job->module_dir, job->build_options, lc_cli_has(args, "debug"), &built, &job->js);
  }
  fflush(stdout);
  const char *path = job->js_path ? job->js_path : job->wasm_path ? job->wasm_path : built;
  if (rc == 0 && !lc_cli_read_file(cli, path, &job->program)) rc = 1;
  lc_free(built);
  return rc;
}

static int publish_one(struct lc_cli *cli, const struct lc_cli_args *args, const struct lc_cli_project *p, unsigned target, struct job *job) {
  bool env_only = lc_cli_has(args, "env-only"), stop = false;
  const char *why;
  if (job->name && !lc_cli_is_identity(job->name) && !lc_cli_database_name_ok(job->name, &why)) return lc_cli_fail(cli, "%s", why);
  if (job->configured && job->name && !env_only) {
    if (job->wasm_path || job->js_path) printf("Publishing precompiled module to database '%s'\n", job->name);
    else printf("Publishing module %s to database '%s'\n", job->module_dir, job->name);
  }
  int rc = env_only ? 0 : load_program(cli, args, job);
  if (rc == 0 && !lc_cli_url_is_local(job->url)) {
    printf("You are about to publish to a non-local server: %s\n", strstr(job->url, "://") + 3);
    if (!lc_cli_confirm(yes_for(args, "remote"), "Are you sure you want to proceed?")) rc = lc_cli_fail(cli, "Publish aborted by user.");
  }
  if (rc == 0) rc = lc_cli_token(cli, job->url, job->anonymous, &job->token);
  json_t *metadata = NULL;
  bool wants_env = env_only || lc_cli_has(args, "unset-env") || lc_cli_has(args, "replace-env") || p;
  if (rc == 0 && wants_env) rc = collect_env(cli, args, p, target, job, &metadata);
  if (rc == 0 && env_only) {
    rc = publish_env_only(cli, args, job, metadata);
    json_decref(metadata);
    return rc;
  }
  json_decref(metadata);
  if (rc == 0) {
    printf("Uploading to %s => %s\n", job->server_name, job->url);
    if (job->name) rc = pre_publish(cli, args, job, &stop);
  }
  return rc == 0 && !stop ? upload(cli, job) : rc;
}

static char *first_text(const char *given, const char *configured) { return lc_cli_copy(given ? given : configured); }

static int prepare(struct lc_cli *cli, const struct lc_cli_args *args, const struct lc_cli_project *p, unsigned target, const char *name, struct job *job) {
  struct stat st;
  const char *server = lc_cli_value(args, "server"), *clear = lc_cli_value(args, "delete-data");
  const char *configured_name = lc_cli_project_text(p, target, "database"), *module = lc_cli_value(args, "module-path");
  *job = (struct job){.configured = p != NULL};
  if (!server) server = lc_cli_project_text(p, target, "server");
  char *def = server ? NULL : lc_cli_config_get(cli->config, "default_server");
  job->server_name = lc_cli_copy(server ? server : def ? def : "");
  lc_free(def);
  job->url = lc_cli_server_url(cli, server);
  if (!job->url) return 1;
  if (configured_name && (!name || strchr(name, '*'))) name = configured_name;
  const char *slash = name ? strchr(name, '/') : NULL;
  job->name = lc_cli_copy(slash ? slash + 1 : name);
  job->parent = slash ? lc_strdup_n(name, (size_t)(slash - name)) : first_text(lc_cli_value(args, "parent"), lc_cli_project_text(p, target, "parent"));
  job->organization = first_text(lc_cli_value(args, "organization"), lc_cli_project_text(p, target, "organization"));
  job->replicas = lc_cli_copy(lc_cli_value(args, "num-replicas"));
  job->build_options = first_text(lc_cli_value(args, "build-options"), lc_cli_project_text(p, target, "build-options"));
  job->break_clients = lc_cli_has(args, "break-clients") || lc_cli_project_bool(p, target, "break-clients");
  job->anonymous = lc_cli_has(args, "anonymous") || lc_cli_project_bool(p, target, "anon-identity");
  job->wasm_path = lc_cli_copy(lc_cli_value(args, "bin-path"));
  job->js_path = lc_cli_copy(lc_cli_value(args, "js-path"));
  job->module_dir = lc_cli_copy(module);
  if (!job->wasm_path && !job->js_path && !module) {
    job->wasm_path = lc_cli_project_path(p, target, "wasm-file");
    if (!job->wasm_path) job->wasm_path = lc_cli_project_path(p, target, "bin-path");
    if (!job->wasm_path) job->js_path = lc_cli_project_path(p, target, "js-file");
    if (!job->wasm_path && !job->js_path) job->js_path = lc_cli_project_path(p, target, "js-path");
    job->module_dir = lc_cli_project_path(p, target, "module-path");
  }
  if (!job->module_dir) job->module_dir = lc_cli_copy(stat("spacetimedb", &st) == 0 && S_ISDIR(st.st_mode) ? "./spacetimedb" : ".");
  if (lc_cli_has(args, "delete-data")) job->clear = !clear || strcmp(clear, "always") == 0 ? CLEAR_ALWAYS : strcmp(clear, "on-conflict") == 0 ? CLEAR_ON_CONFLICT : CLEAR_NEVER;
  return 0;
}

static void job_free(struct job *job) {
  char *const texts[] = {job->url, job->token, job->name, job->parent, job->server_name, job->organization, job->module_dir, job->wasm_path, job->js_path, job->build_options, job->replicas};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) lc_free(texts[i]);
  for (unsigned i = 0; i < job->n_headers; i++) lc_free(job->headers[i]);
  lc_buf_free(&job->program);
  lc_buf_free(&job->params);
  json_decref(job->env);
}

static int check_usage(struct lc_cli *cli, const struct lc_cli_args *args) {
  static const char *const exclusive[] = {"bin-path", "js-path", "module-path", "build-options"};
  const char *clear = lc_cli_value(args, "delete-data"), *replicas = lc_cli_value(args, "num-replicas");
  for (int i = 0; i < 2; i++)
    for (int k = i + 1; k < 4; k++)
      if (lc_cli_has(args, exclusive[i]) && lc_cli_has(args, exclusive[k])) return lc_cli_usage_error(cli, "the argument '--%s <VALUE>' cannot be used with '--%s <VALUE>'", exclusive[i], exclusive[k]);
  if (clear && strcmp(clear, "always") != 0 && strcmp(clear, "on-conflict") != 0 && strcmp(clear, "never") != 0)
    return lc_cli_usage_error(cli, "invalid value '%s' for '--delete-data[=<VALUE>]'\n  [possible values: always, on-conflict, never]", clear);
  if (!yes_values_ok(args)) return lc_cli_usage_error(cli, "invalid value for '--yes[=<VALUE>]'\n  [possible values: all, remote, migrate, break-clients, skip-login, delete-data]");
  if (replicas && (!*replicas || strspn(replicas, "0123456789") != strlen(replicas))) return lc_cli_usage_error(cli, "invalid value '%s' for '--num-replicas <VALUE>'", replicas);
  if (lc_cli_has(args, "env-only") && (lc_cli_has(args, "delete-data") || lc_cli_has(args, "module-path") || lc_cli_has(args, "bin-path") || lc_cli_has(args, "js-path")))
    return lc_cli_usage_error(cli, "the argument '--env-only' cannot be used with a module or '--delete-data'");
  if (lc_cli_has(args, "replace-env") && lc_cli_has(args, "unset-env")) return lc_cli_usage_error(cli, "the argument '--replace-env' cannot be used with '--unset-env <VALUE>'");
  return 0;
}

int lc_cli_cmd_publish(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *name = args->n ? args->positional[0] : NULL;
  int rc = check_usage(cli, args);
  if (rc != 0) return rc;
  struct lc_cli_project *p = NULL;
  if (!lc_cli_has(args, "no-config")) {
    p = lc_cli_project_load(cli, lc_cli_value(args, "env"));
    if (!p && cli->error.len) return 1;
    lc_cli_project_announce(p);
  }
  unsigned n = p ? lc_cli_project_targets(p) : 1, done = 0;
  for (unsigned i = 0; i < n && rc == 0; i++) {
    const char *database = lc_cli_project_text(p, i, "database");
    if (p && database && name && !lc_cli_glob(name, database)) continue;
    struct job job;
    rc = prepare(cli, args, p, i, name, &job);
    if (rc == 0) rc = publish_one(cli, args, p, i, &job);
    job_free(&job);
    done++;
  }
  if (rc == 0 && done == 0) rc = lc_cli_fail(cli, "No matching target found in spacetime.json for the provided arguments. Use --no-config to ignore the config file.");
  lc_cli_project_free(p);
  return rc;
}
